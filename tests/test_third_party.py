"""A method that another package brings: installed as pip installs it, and used like ours."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages, made by pip without a network."""
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--target", target, source], check=True)
    return target


@pytest.fixture
def run(installed, tmp_path):
    def call(*arguments, path=(installed,)):
        done = subprocess.run(
            ["peftlens", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    return call


def test_it_appears_in_the_list(run):
    code, out, _ = run("methods", "--json")
    found = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert found["feed_forward_scale"]["family"] == "additive adapter"
    assert "lora" in found


def test_it_is_shown_with_its_options_and_its_package(run):
    _, out, _ = run("methods", "feed_forward_scale")
    assert "Provided by the package peftlens-scale." in out
    assert "start: float = 1.0" in out


def test_it_is_gone_without_the_package(run):
    code, _, err = run("methods", "feed_forward_scale", path=())
    assert code == 2
    assert "no method named 'feed_forward_scale'" in err


def test_it_trains_and_its_version_is_part_of_the_run(run, bases, words, tmp_path):
    code, out, err = run(
        *("train", "feed_forward_scale", "--task", f"file:{words}", "--base", bases["llama"]),
        *("--steps", 2, "--dtype", "float32", "--json"),
    )
    assert code == 0, err
    record = json.loads((tmp_path / json.loads(out)["run"] / "run.json").read_text())
    assert record["results"]["trainable_parameters"] == 3
    assert record["depends_on"]["versions"]["peftlens-scale"] == "1.2.3"


def test_a_name_that_is_taken(run, installed, tmp_path):
    other = tmp_path / "clash"
    shutil.copytree(installed, other)
    points = next(other.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text().replace("feed_forward_scale", "lora"))
    code, _, err = run("methods", path=(other,))
    assert code == 2
    assert "peftlens-scale provides a method named 'lora', but this name exists already" in err


def test_a_module_that_lacks_something(run, installed, tmp_path):
    other = tmp_path / "broken"
    shutil.copytree(installed, other)
    module = other / "peftlens_scale" / "method.py"
    module.write_text(module.read_text().replace("def trainable_parameters", "def count"))
    code, _, err = run("train", "feed_forward_scale", path=(other,))
    assert code == 2
    assert "of package peftlens-scale lacks trainable_parameters" in err

"""The built distributions: complete, nothing else in them, and usable far from the checkout.

The wheel is installed into an empty environment that holds exactly the packages which an installer
would add for it: links to those of the present environment, found from the wheel's own metadata.
That is as strict as a download, and takes a second. Packages of extras are not there.
"""

import ast
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def files_of_the_package():
    paths = (ROOT / "peftlens").rglob("*")
    return {
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of the checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    build(ROOT, "sdist", folder)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel, made from the unpacked sdist alone."""
    sources, folder = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(sources, filter="data")
    build(next(sources.iterdir()), "wheel", folder)
    return next(folder.iterdir())


def build(folder, target, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def environment(wheel, metadata, tmp_path_factory):
    """A new environment with the wheel and what it requires; return its folder of programs."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in required(metadata.get_all("Requires-Dist")):
        link(name, packages)
    return python.parent


def required(requirements, extras=("",)):
    """Names of the packages that an installer adds for requirements, and for theirs in turn."""
    left, seen = [(Requirement(one), extra) for one in requirements for extra in extras], set()
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        installed = distribution(requirement.name)
        assert requirement.specifier.contains(installed.version, prereleases=True), requirement
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                left += [(Requirement(one), wanted) for one in installed.requires or ()]
    return {name for name, _ in seen}


def link(name, packages):
    installed = distribution(name)
    for top in {path.parts[0] for path in installed.files} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(installed.locate_file(top))


@pytest.fixture
def run(environment, tmp_path):
    """Run a program of the new environment, elsewhere."""

    def call(program, *arguments):
        return subprocess.run(
            [environment / program, *map(str, arguments)],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return call


def test_the_sdist_holds_the_package_and_its_papers(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    papers = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt"}
    assert names == files_of_the_package() | papers | {"pyproject.toml", "PKG-INFO", ".gitignore"}


def test_the_wheel_holds_the_package_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_of_the_package()
    assert {"peftlens/py.typed", "peftlens/quickstart.toml", "peftlens/reports/page.js"} < names


def test_the_metadata_are_those_of_the_project(metadata):
    required = {Requirement(one) for one in metadata.get_all("Requires-Dist")}
    assert {Requirement(one) for one in PROJECT["dependencies"]} <= required
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Author"] == PROJECT["authors"][0]["name"]
    assert set(metadata.get_all("Classifier")) == set(PROJECT["classifiers"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_the_version_and_authors_are_the_same_everywhere(run):
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f'- name: "{PROJECT["authors"][0]["name"]}"' in citation
    assert run("peftlens", "--version").stdout.strip() == PROJECT["version"]


def test_every_import_is_of_a_required_package(metadata):
    requirements = metadata.get_all("Requires-Dist")
    always = modules(required(requirements))
    with_extras = always | modules(required(requirements, extras=("test",)))
    for name in sorted(files_of_the_package()):
        if name.endswith(".py"):
            tree = ast.parse((ROOT / name).read_text())
            at_once = imported(tree.body)
            assert at_once <= always, (name, at_once - always)
            at_any_time = imported(ast.walk(tree))
            assert at_any_time <= with_extras, (name, at_any_time - with_extras)


def modules(packages):
    """Names of the modules that may be imported beside the standard library's."""
    names = {canonicalize_name(name) for name in packages}
    found = packages_distributions().items()
    return {"peftlens", *sys.stdlib_module_names} | {
        module for module, owners in found if names & {canonicalize_name(one) for one in owners}
    }


def imported(nodes):
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.partition(".")[0])
    return found


def test_importing_it_uses_nothing_deprecated(run):
    done = run("python", "-W", "error::DeprecationWarning", "-c", "import peftlens; dir(peftlens)")
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_that_train_nothing(run):
    assert "Usage: peftlens" in run("peftlens", "--help").stdout
    assert "prompt_tuning" in run("peftlens", "methods").stdout
    done = run("peftlens", "train", "frozen", "--task", "hub:org/name")
    assert done.returncode == 2
    assert 'python -m pip install "peftlens[hub] @ file://' in done.stderr


def test_it_trains_and_reports(run, bases, words, tmp_path):
    done = run(
        *("peftlens", "train", "lora", "--task", f"file:{words}", "--base", bases["llama"]),
        *("--steps", 2, "--dtype", "float32", "--json"),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / json.loads(done.stdout)["run"] / "run.json").read_text())
    assert record["results"]["trainable_parameters"] > 0
    done = run("peftlens", "report", "runs", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "page.html").read_text()[:200]

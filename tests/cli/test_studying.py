import json
import sys

import pytest

from peftlens import cli
from peftlens.cli import studying
from peftlens.errors import BadInput

STUDY = """
name = "tiny"
base = "{base}"
device = "cpu"
dtype = "float32"
probes = ["task_accuracy", "parameter_count"]
[task]
name = "file:{words}"
[training]
steps = 2
batch_size = 4
[[runs]]
method = "frozen"
[[runs]]
method = "lora"
grid = {{ rank = [1, 2] }}
"""


@pytest.fixture
def file(bases, words, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY.format(base=bases["llama"], words=words))
    return path


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call `peftlens study ARGUMENTS`; gives the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["peftlens", "study", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def test_a_file_is_run_and_run_may_be_said(run, file):
    code, out, _ = run(file, "--workers", 0, "--only", "lora*", "--json")
    assert code == 0
    found = json.loads(out)
    assert (len(found["runs"]), found["left"]) == (2, 1)
    assert found["folder"] == "studies/tiny"
    code, out, _ = run("run", file, "--workers", 0, "--json")
    assert (len(json.loads(out)["runs"]), json.loads(out)["left"]) == (3, 0)
    code, out, _ = run("status", "studies/tiny")
    assert (code, out) == (0, "3 done, 0 running, 0 failed, 0 left\n")
    assert json.loads(run("status", "studies/tiny", "--json")[1])["done"] == 3
    code, _, err = run(file, "--workers", 0, "--no-resume")
    assert code == 2
    assert "holds a study already; give another --out" in err


def test_worker_processes_by_default(run, file):
    code, out, err = run(file)
    assert code == 0
    assert "lora rank=2" in out
    assert "Workers: " in err
    assert "[3/3]" in err


@pytest.mark.parametrize("wrong", ["3", "0/2", "3/2", "a/b"])
def test_a_shard_that_is_none(run, file, wrong):
    code, _, err = run(file, "--shard", wrong)
    assert code == 2
    assert f"--shard {wrong}: give the part and the number of parts" in err


def test_only_what_there_is(run, file):
    code, _, err = run(file, "--workers", 0, "--only", "loha*")
    assert code == 2
    assert "no run fits; there are frozen, lora rank=1, lora rank=2" in err


def test_validate(run, file, monkeypatch):
    code, out, _ = run("validate", file)
    assert code == 0
    assert "3 runs of 3 configurations" in out
    assert "No mistake found" in out
    assert not (file.parent / "studies").exists()
    found = json.loads(run("validate", file, "--json")[1])
    assert found["runs"] == 3
    monkeypatch.setattr(studying.shutil, "disk_usage", lambda _: type("Full", (), {"free": 10}))
    code, _, err = run("validate", file)
    assert code == 2
    assert "and the disk has 0 MB free" in err
    file.write_text(file.read_text().replace("rank = [1, 2]", "rank = [1, 200]"))
    code, _, err = run("validate", file)
    assert code == 2
    assert "rank=200 must lie between" in err


def test_ahead_is_rounded():
    assert studying._ahead(None) == studying._ahead(0) == ""
    assert "a minute" in studying._ahead(30)
    assert "45 minutes" in studying._ahead(45 * 60)
    assert "3.0 hours" in studying._ahead(3 * 3600)


def test_status_of_no_study(run, tmp_path):
    code, _, err = run("status", tmp_path)
    assert code == 2
    assert "holds no study; run `peftlens study` first" in err


def test_help_names_the_three(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in ("run", "status", "validate"))


def test_part():
    assert studying._part("2/8") == (2, 8)
    with pytest.raises(BadInput):
        studying._part("8")

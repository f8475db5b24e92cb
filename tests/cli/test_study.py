import html
import json
from dataclasses import replace
from pathlib import Path

import finished
import pytest

from peftlens.cli import study as studying
from peftlens.data.class_balance import ClassBalance
from peftlens.errors import InputError
from peftlens.results import table
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions


def test_a_file_is_run_and_run_may_be_said(run, study_file):
    code, out, _ = run("study", study_file, "--workers", 0, "--filter", "lora*", "--json")
    assert code == 0
    found = json.loads(out)
    assert (len(found["runs"]), found["left"]) == (2, 1)
    assert found["folder"] == "studies/tiny"
    code, out, _ = run("study", "run", study_file, "--workers", 0, "--json")
    assert (len(json.loads(out)["runs"]), json.loads(out)["left"]) == (3, 0)
    code, out, _ = run("study", "status", "studies/tiny")
    assert (code, out) == (0, "3 done, 0 running, 0 failed, 0 left\n")
    assert json.loads(run("study", "status", "studies/tiny", "--json")[1])["done"] == 3
    code, _, err = run("study", study_file, "--workers", 0, "--no-resume")
    assert code == 2
    assert "holds a study already; give another --out" in err


def test_worker_processes_by_default(run, study_file):
    code, out, err = run("study", study_file)
    assert code == 0
    assert "lora rank=2" in out
    assert "Workers: " in err
    assert "[3/3]" in err


@pytest.mark.parametrize("wrong", ["3", "0/2", "3/2", "a/b"])
def test_a_shard_that_is_none(run, study_file, wrong):
    code, _, err = run("study", study_file, "--shard", wrong)
    assert code == 2
    assert f"--shard {wrong}: give the part and the number of parts" in err


def test_only_what_there_is(run, study_file):
    code, _, err = run("study", study_file, "--workers", 0, "--filter", "loha*")
    assert code == 2
    assert "no run fits; there are frozen, lora rank=1, lora rank=2" in err


def test_validate(run, study_file, monkeypatch):
    code, out, _ = run("study", "validate", study_file)
    assert code == 0
    assert "3 runs of 3 configurations" in out
    assert "No errors found" in out
    assert not (study_file.parent / "studies").exists()
    found = json.loads(run("study", "validate", study_file, "--json")[1])
    assert found["runs"] == 3
    (counts,) = found["tasks"].values()
    assert f"{counts['rows']} training rows of {counts['tokens']:,} tokens" in out
    monkeypatch.setattr(studying.shutil, "disk_usage", lambda _: type("Full", (), {"free": 10}))
    code, _, err = run("study", "validate", study_file)
    assert code == 2
    assert "and the disk has 0 MB free" in err
    study_file.write_text(study_file.read_text().replace("rank = [1, 2]", "rank = [1, 200]"))
    code, _, err = run("study", "validate", study_file)
    assert code == 2
    assert "rank=200 must lie between" in err


def test_the_majority_baseline_is_the_same_everywhere(run, study_file):
    """In `study validate`, in the study's table, and in the sentences below it."""
    probes = 'probes = ["task_items", '
    study_file.write_text(study_file.read_text().replace("probes = [", probes))
    code, out, _ = run("study", "validate", study_file)
    assert code == 0
    (told,) = json.loads(run("study", "validate", study_file, "--json")[1])["classes"].values()
    (_, baseline) = ClassBalance(**told).in_words()
    n_train = sum(told["train"].values())
    assert f"2 classes of {n_train} training examples: " in out
    assert f"{baseline}\n" in out
    assert told["majority_class"] == max(told["train"], key=lambda name: told["train"][name])
    right = told["test"][told["majority_class"]]
    assert told["majority_accuracy"] == right / sum(told["test"].values())
    code, out, _ = run("study", study_file, "--workers", 0)
    assert code == 0
    assert out.count(f"{baseline}\n") == 1
    frame = table.read(Path("studies/tiny/tables/task_accuracy.parquet")).frame
    assert set(frame["majority_class"]) == {told["majority_class"]}
    assert set(frame["majority_accuracy"]) == {told["majority_accuracy"]}
    code, out, _ = run("table", "studies/tiny", "--format", "csv", "--metric", "accuracy")
    assert f"majority class '{told['majority_class']}'" in out
    assert str(told["majority_accuracy"]) in out
    assert baseline in html.unescape(Path("studies/tiny/report.html").read_text())


def test_ahead_is_rounded():
    assert studying._remaining_time(None) == studying._remaining_time(0) == ""
    assert "1 minute" in studying._remaining_time(30)
    assert "45 minutes" in studying._remaining_time(45 * 60)
    assert "3.0 hours" in studying._remaining_time(3 * 3600)


def test_a_probe_that_applies_to_no_run_is_told(tmp_path, capsys):
    """Its values are missing, which pandas reads as text."""
    folder = finished.study(tmp_path, [finished.lora(1, 0)])
    file = folder / "tables" / "forgetting.parquet"
    known = table.read(file)
    columns = tuple(one for one in known.columns if one.name not in ("status", "reason"))
    row = table.not_applicable(columns, "the base predicts no text")
    about = known.frame[["run", "configuration", "method", "seed"]].iloc[:1].reset_index(drop=True)
    frame = row.assign(**about.iloc[0])[known.frame.columns].astype({"forgetting": "string"})
    table.write(table.Table(known.name, known.version, known.columns, (), frame), file)
    assert table.read(file).frame["forgetting"].dtype == "string"
    studying._print_summary(folder)
    out = capsys.readouterr().out
    assert "forgetting was measured for no run: the base predicts no text" in out
    assert "lora rank=1" in out


def test_status_of_no_study(run, tmp_path):
    code, _, err = run("study", "status", tmp_path)
    assert code == 2
    assert "holds no study that can be read; run `peftlens study` first" in err


def test_help_names_the_four(run):
    code, out, _ = run("study", "--help")
    assert code == 0
    assert all(command in out for command in ("run", "status", "verify", "validate"))


def test_part():
    assert studying._part("2/8") == (2, 8)
    with pytest.raises(InputError):
        studying._part("8")


def test_every_option_of_a_study_arrives(run, study_file, monkeypatch):
    requested = []

    def study_stub(file, out, how, *, trust_remote_code):
        requested.append((file, out, how, trust_remote_code))
        raise InputError("enough")

    monkeypatch.setattr(runner, "run_study", study_stub)
    line = (
        "--out",
        "x",
        "--workers",
        3,
        "--threads",
        2,
        "--runs-per-pass",
        4,
        "--full-scale",
        "--engine",
        "ray",
        "--shard",
        "2/3",
        "--filter",
        "a*",
        "--filter",
        "b*",
        "--retry-failed",
        "--stall-timeout",
        5,
        "--trust-remote-code",
    )
    code, _, err = run("study", study_file, *line)
    assert (code, "enough" in err) == (2, True)
    how = StudyOptions(
        workers=3,
        threads=2,
        runs_per_pass=4,
        full_scale=True,
        engine="ray",
        shard=(2, 3),
        filter=("a*", "b*"),
        retry_failed=True,
        stall_timeout=300,
    )
    (asked,) = requested
    assert asked == (study_file, Path("x"), replace(how, show=asked[2].show), True)


HOSTILE = "\x1b]0;x\x07\x9b31m\u202e"


def test_no_control_character_of_a_study_reaches_the_terminal(run, study_file):
    text = study_file.read_text().replace('name = "tiny"', f"name = {json.dumps(HOSTILE)}")
    study_file.write_text(text)
    study = Path("studies") / study_file.stem
    outputs = [run("study", study_file, "--workers", 0), run("study", study_file, "--json")]
    failed = study / "failed"
    failed.mkdir()
    (failed / "cost.json").write_text(json.dumps({"what": HOSTILE, "summary": HOSTILE}))
    (study / "runs" / f".{HOSTILE[1:]}").touch()
    for command in (
        ("study", "status"), ("study", "status", "--json"), ("study", "verify"),
        ("study", "verify", "--json"), ("table",), ("table", "--format", "csv"),
        ("table", "--format", "latex"), ("table", "--format", "html"), ("cite",), ("report",),
        ("probe", "parameter_count"), ("probe", "parameter_count", "--json"),
    ):  # fmt: skip
        outputs.append(run(*command, study))
    assert [code for code, _, _ in outputs] == [0, 0, *[0] * 12]
    for _, out, err in outputs:
        assert all(line.isprintable() for line in (out + err).split("\n")), (out, err)
    assert "<U+001B>" in outputs[2][1]
    assert json.loads(outputs[3][1])["failed"]["cost"].startswith(HOSTILE)


def test_verify(run, study_file):
    run("study", study_file, "--workers", 0)
    code, out, err = run("study", "verify", "studies/tiny")
    assert (code, out, err) == (0, "No problems in 3 runs and 9 tables\n", "")
    (first, *_) = sorted(Path("studies/tiny/runs").iterdir())
    (first / "metrics.jsonl").write_text("")
    code, out, _ = run("study", "verify", "studies/tiny")
    assert code == 1
    assert f"{first}/metrics.jsonl is damaged (its contents have changed)" in out
    assert "problems in 3 runs and 9 tables" in out
    found = json.loads(run("study", "verify", "studies/tiny", "--json")[1])
    assert (found["runs"], found["tables"], found["notes"]) == (3, 9, [])
    assert len(found["problems"]) > 1
    assert run("study", "verify", "nowhere")[0] == 2

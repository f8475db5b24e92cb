import json

import finished
import pytest

from peftlens.reports.subject import listed, progress, short, subject, title
from peftlens.results import study_results


def test_what_was_studied(tmp_path):
    configs = [
        finished.plain("frozen", 0),
        *(finished.lora(r, s) for r in (1, 2) for s in (0, 1, 2)),
    ]
    folder = finished.study(tmp_path, configs)
    (folder / "calls").mkdir()
    call = {"began": "2026-01-02T03:04:05+00:00", "command": "c", "peftlens": "0.1.0",
            "processor": "P", "cores": 2, "memory_bytes": 1, "system": "L"}  # fmt: skip
    (folder / "calls" / "20260102.json").write_text(json.dumps(call))
    assert dict(subject(study_results.read(folder))) == {
        "Base model": "smollm2-135m (135M parameters)",
        "Task": "bbc_topic",
        "Method": "LoRA",
        "Configurations": "2",
        "Runs": "6 and the base model",
        "Seeds": "3 (0 to 2)",
        "Steps": "40",
        "Date": "2 January 2026",
    }


def test_runs_that_are_not_there_are_counted(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)])
    index = json.loads((folder / "study.json").read_text())
    more = ["e" * 12, "f" * 12]
    index["runs"] += more
    index["names"] |= dict.fromkeys(more, "full seed=0")
    (folder / "study.json").write_text(json.dumps(index))
    (folder / "failed").mkdir()
    (folder / "failed" / f"{'f' * 12}.json").write_text(json.dumps({"what": "f", "summary": "s"}))
    results = study_results.read(folder)
    assert dict(subject(results))["Runs"] == "1 of 3, 1 failed"
    assert list(progress(results)) == ["So far 1 of 3 runs is trained.", "1 run failed: s"]


def test_a_run_is_named_by_its_configuration_and_never_by_a_hash(tmp_path):
    one = finished.run(tmp_path / "runs", finished.lora(8, 4), 0)
    results = study_results.read(one.path)
    assert title(results) == "LoRA, rank 8, learning rate 0.001, on bbc_topic"
    assert dict(subject(results))["Run"] == one.id
    finished.run(tmp_path / "runs", finished.lora(8, 5), 1)
    assert title(study_results.read(tmp_path / "runs")) == "runs"
    assert title(study_results.of_runs(tmp_path, "0123456789ab", [], {}, [])) == "Adapter"
    assert title(study_results.of_runs(tmp_path, "mine", [one], {one.id: "x"}, [])).startswith("x")


def test_a_study_has_its_own_name(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)], name="ranks")
    results = study_results.read(folder)
    assert title(results) == "ranks"
    assert list(progress(results)) == []  # it is at its end


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("org/name@" + "0" * 40, "org/name@00000000"),
        ("hub:org/name", "hub:org/name"),
        ("file:/data/of/mine/words.csv", "words.csv"),
        ("/models/tiny-llama", "tiny-llama"),
    ],
)
def test_references_are_short(reference, name):
    assert short(reference) == name


def test_long_lists_are_cut():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "a"]) == "a and b"
    assert listed("abcd") == "a, b, c and d"
    assert listed("abcde") == "a, b, c and 2 more"

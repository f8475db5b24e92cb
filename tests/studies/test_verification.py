"""What verification compares; what else is told of a changed study: test_damaged_study.py."""

import json
from dataclasses import replace

import finished
import pytest

from peftlens.errors import InputError
from peftlens.results import table
from peftlens.runs.run import Run
from peftlens.studies.verification import verify


@pytest.fixture
def study(tmp_path):
    configs = [finished.lora(1, 0), finished.lora(2, 0)]
    return finished.study(tmp_path, configs, probes=("parameter_count", "cost"))


def test_a_whole_study_has_no_problem(study):
    found = verify(study)
    assert (found.problems, found.notes) == ((), ())
    assert (found.runs, found.tables) == (2, 3)


def test_weights_are_read(study):
    (study / "runs" / f"{0:012x}" / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    (problem,) = verify(study).problems
    assert "adapter_model.safetensors is damaged (its contents have changed)" in problem


def test_a_table_is_compared_with_those_of_the_runs(study):
    file = study / "tables" / "cost.parquet"
    whole = table.read(file)
    for number in range(2):
        run = Run(study / "runs" / f"{number:012x}")
        rows = whole.frame[whole.frame["run"] == run.id].reset_index(drop=True)
        own = rows.drop(columns=["run", "configuration", "method", "seed"])
        one = replace(whole, frame=own, columns=whole.columns[4:], runs=(run.id,), sha256=None)
        run.table_folder.mkdir()
        table.write(one, run.table_folder / "cost.parquet")
    assert verify(study).problems == ()
    forged = whole.frame.assign(training_seconds=[20.0, 21.0])
    table.write(replace(whole, frame=forged, sha256=None), file)
    (problem,) = verify(study).problems
    assert "the rows of the table cost differ from what was measured on the runs" in problem


def test_a_study_without_an_index_is_still_compared(study):
    (study / "study.json").write_text("{")
    (study / "runs" / f"{0:012x}" / "metrics.jsonl").write_text("")
    found = verify(study)
    assert found.runs == 2
    assert len(found.problems) == 2


def test_what_is_no_problem_is_a_note(study):
    finished.run(study / "runs", finished.lora(4, 0), 9)
    index = json.loads((study / "study.json").read_text())
    index["runs"] += ["f" * 12]
    index["names"]["f" * 12] = "lora rank=8 seed=0"
    (study / "study.json").write_text(json.dumps(index))
    (study / "runs" / f"{1:012x}" / "digests.json").unlink()
    found = verify(study)
    assert found.problems == ()
    assert [note.partition(" ")[2][:18] for note in found.notes] == [
        "has no digests.jso", "is no run of this ", "runs are not train"
    ]  # fmt: skip


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no finished run and no study"):
        verify(tmp_path)

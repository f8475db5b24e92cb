"""What verification compares; what else is told of a changed study: test_damaged_study.py."""

import json
from dataclasses import replace

import finished
import pandas as pd
import pytest
import traced

from peftlens.errors import InputError
from peftlens.probes import traces
from peftlens.results import stack, table
from peftlens.results.table import Column, Table
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


def test_a_verdict_is_compared_with_all_that_it_was_made_of(study):
    index = json.loads((study / "study.json").read_text())
    names, runs = index["configurations"], [Run(study / "runs" / f"{n:012x}") for n in range(2)]
    changes = pd.concat([
        traced.changes((0.5, 0.9), {"run": run.id, "configuration": names[run.id],
                                    "method": "lora", "seed": 0}) for run in runs
    ]).reset_index(drop=True)  # fmt: skip
    changes["reason"] = None
    said = changes.assign(p=0.0001, source="general", status="measured").drop(
        columns=["text", "run", "configuration", "method", "seed", "random_larger"]
    )
    own = written(runs[0].table_folder, "patchscope", said[:2], runs[:1])
    also = {"patchscope": stack.join({runs[0]: own}, names).frame}
    verdicts = traces.combine({"activation_difference": changes} | also)
    assert verdicts["verdict"].tolist() == ["readable trace", "trace, not of the task"]
    written(study / "tables", "activation_difference", changes, runs)
    written(study / "tables", "traces", verdicts, runs)
    assert verify(study).problems == ()
    written(study / "tables", "traces", verdicts.assign(q=0.5), runs)
    (problem,) = verify(study).problems
    assert "the rows of the table traces differ" in problem


def written(folder, name, frame, runs):
    columns = tuple(Column(column, column) for column in frame)
    one = Table(name, 1, columns, (), frame, runs=tuple(run.id for run in runs))
    folder.mkdir(exist_ok=True)
    table.write(one, folder / f"{name}.parquet")
    return one


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

"""A finished study with one thing in it changed: it is told, or makes no difference."""

import json
import os
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peftlens.errors import InputError
from peftlens.export.benchmark_table import benchmark_table
from peftlens.reports import page
from peftlens.results import study_results, table
from peftlens.runs.run import Run, runs_in
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions
from peftlens.studies.status import study_status
from peftlens.studies.verification import verify

pytestmark = pytest.mark.long

HERE = StudyOptions(workers=0, retry_failed=True)


@pytest.fixture(scope="module")
def file(tiny_study, tmp_path_factory):
    file = tmp_path_factory.mktemp("file") / "tiny.toml"
    settings = 'dtype = "float32"\nprobes = ["task_items", "task_accuracy", "cost"]'
    training = "max_steps = 8\nbatch_size = 4\nlearning_rate = 0.05\ncheckpoint_steps = [4]"
    runs = ('method = "lora"\ngrid = { rank = [1, 2] }',)
    file.write_text(tiny_study(*runs, settings=settings, training=training))
    return file


@pytest.fixture(scope="module")
def study(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "out"
    assert runner.run_study(file, folder, HERE).failed == ()
    return folder


@pytest.fixture(scope="module")
def numbers(study):
    return shown(study_results.read(study))


def shown(results):
    """Numbers of a study's benchmark table."""
    try:
        return benchmark_table(results, ("accuracy",)).to_csv(index=False)
    except InputError as error:
        return str(error)


def two(folder):
    """Two runs of different configurations."""
    runs = json.loads((folder / "study.json").read_text())["runs"]
    return folder / "runs" / runs[0], folder / "runs" / runs[1]


def exchange(one, other):
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def over(name):
    """Copy a file or folder of one run over that of another."""

    def mutate(folder):
        one, other = two(folder)
        if (one / name).is_dir():
            shutil.rmtree(other / name)
            shutil.copytree(one / name, other / name)
        else:
            shutil.copy(one / name, other / name)

    return mutate


def flip(file):
    data = bytearray(file.read_bytes())
    data[-3] ^= 64
    file.write_bytes(data)


def of_run(*names, change):
    """Change files of one run."""

    def mutate(folder):
        one, _ = two(folder)
        for name in names:
            change(one / name)

    return mutate


def of_study(name, change):
    return lambda folder: change(folder / name)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def edited(column, value):
    """Change a number of a table and keep everything else of its file."""

    def change(file):
        data = pq.read_table(file)
        index = data.column_names.index(column)
        values = [value, *data[column].to_pylist()[1:]]
        array = pa.array(values, data.schema.field(index).type)
        pq.write_table(data.set_column(index, data.schema.field(index), array), file)

    return change


def rewritten(column, value):
    """Change a number of a table with peftlens' own functions."""

    def change(file):
        one = table.read(file)
        frame = one.frame.copy()
        frame.loc[0, column] = value
        table.write(replace(one, frame=frame), file)

    return change


def forged(column, value):
    """Change a number and make a table of it that any check of the file alone accepts."""

    def change(file):
        one = table.read(file)
        frame = one.frame.copy()
        frame.loc[0, column] = value
        table.write(replace(one, frame=frame, sha256=None), file)

    return change


def by_pandas(file):
    frame = table.read(file).frame
    frame.loc[0, "accuracy"] = 0.99
    frame.to_parquet(file)


def changed_json(**entries):
    def change(file):
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return change


def exchanged_labels(file):
    index = json.loads(file.read_text())
    runs, labels = index["runs"], index["configurations"]
    labels[runs[0]], labels[runs[1]] = labels[runs[1]], labels[runs[0]]
    file.write_text(json.dumps(index))


def result_changed(file):
    record = json.loads(file.read_text())
    record["results"]["validation_accuracy"] = 1.0
    file.write_text(json.dumps(record))


def without_digests(change):
    """Change a run after its digests were removed."""

    def mutate(folder):
        one, _ = two(folder)
        (one / "digests.json").unlink()
        change(one)

    return mutate


def as_pipe(file):
    file.unlink()
    os.mkfifo(file)


def as_folder(file):
    file.unlink()
    file.mkdir()


def stray(*names):
    def mutate(folder):
        one, _ = two(folder)
        for name in names:
            file = folder / name.replace("RUN", str(one))
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"\0\0\0\1Bud1")

    return mutate


def another_runs_checkpoint(folder):
    one, other = two(folder)
    shutil.copytree(one / "checkpoints" / "4", other / "checkpoints" / "6")


def in_place(file):
    file.parent.mkdir(exist_ok=True)
    file.write_text("{")


def foreign_table(folder):
    """A table of a study with other runs."""
    one = table.read(folder / "tables" / "cost.parquet")
    other = replace(one, frame=one.frame.assign(run="f" * 12), runs=("f" * 12,), sha256=None)
    table.write(other, folder / "tables" / "cost.parquet")


WEIGHTS = "adapter/adapter_model.safetensors"
MUTATIONS = {
    "two runs exchanged": lambda folder: exchange(*two(folder)),
    "a run over another": over("."),
    "configuration of another adapter": over("adapter/adapter_config.json"),
    "weights of another run": over(WEIGHTS),
    "adapter of another run": over("adapter"),
    "checkpoints of another run": over("checkpoints"),
    "digests of another run": over("digests.json"),
    "metrics of another run": over("metrics.jsonl"),
    "run.json of another run": over("run.json"),
    "a flipped weight": of_run(WEIGHTS, change=flip),
    "a flipped weight of a checkpoint": of_run(f"checkpoints/4/{WEIGHTS[8:]}", change=flip),
    "a cut run.json": of_run("run.json", change=cut),
    "another result in run.json": of_run("run.json", change=result_changed),
    "no digests": without_digests(lambda _: None),
    "no digests and a flipped weight": without_digests(lambda run: flip(run / WEIGHTS)),
    "no digests and a cut run.json": without_digests(lambda run: cut(run / "run.json")),
    "no digests and no timing": without_digests(lambda run: (run / "timing.jsonl").unlink()),
    "digests that are a list": of_run("digests.json", change=lambda file: file.write_text("[1]")),
    "run.json as a pipe": of_run("run.json", change=as_pipe),
    "run.json as a folder": of_run("run.json", change=as_folder),
    "a run's folder that is empty": of_run(
        ".", change=lambda run: (shutil.rmtree(run), run.mkdir())
    ),
    "a run gone": of_run(".", change=shutil.rmtree),
    "a checkpoint gone": of_run("checkpoints/4", change=shutil.rmtree),
    "a probe's table of another run": over("probes/task_items.parquet"),
    "a cut probe table": of_run("probes/task_items.parquet", change=cut),
    "another number in a probe's table": of_run(
        "probes/cost.parquet", change=edited("learning_rate", 7.0)
    ),
    "another number in a table": of_study("tables/task_accuracy.parquet", edited("accuracy", 0.99)),
    "another number, written by peftlens": of_study(
        "tables/task_accuracy.parquet", rewritten("accuracy", 0.99)
    ),
    "a table with another number and its digest": of_study(
        "tables/task_accuracy.parquet", forged("accuracy", 0.99)
    ),
    "an item with its digest": of_study("tables/task_items.parquet", forged("chosen", 7)),
    "a hyperparameter with its digest": of_study(
        "tables/configurations.parquet", forged("rank", 7)
    ),
    "another number, written by pandas": of_study("tables/task_accuracy.parquet", by_pandas),
    "an item answered otherwise": of_study("tables/task_items.parquet", edited("chosen", 7)),
    "a table of another probe": lambda folder: shutil.copy(
        folder / "tables/cost.parquet", folder / "tables/task_items.parquet"
    ),
    "a table of another study": foreign_table,
    "a table as a pipe": of_study("tables/cost.parquet", as_pipe),
    "a table of one run": lambda folder: shutil.copy(
        two(folder)[0] / "probes/task_items.parquet", folder / "tables/task_items.parquet"
    ),
    "a table gone": of_study("tables/task_items.parquet", lambda file: file.unlink()),
    "digests.json as a folder": of_run("digests.json", change=as_folder),
    "a cut table": of_study("tables/cost.parquet", cut),
    "another study.toml": of_study(
        "study.toml", lambda file: file.write_text(file.read_text().replace("tiny", "huge"))
    ),
    "study.toml of bytes": of_study("study.toml", lambda file: file.write_bytes(b"\xff\xfe\0")),
    "study.toml gone": of_study("study.toml", lambda file: file.unlink()),
    "exchanged names in study.json": of_study("study.json", exchanged_labels),
    "another title in study.json": of_study("study.json", changed_json(name="other")),
    "study.json with a list of names": of_study("study.json", changed_json(names=[])),
    "a cut study.json": of_study("study.json", cut),
    "study.json that is a number": of_study("study.json", lambda file: file.write_text("3")),
    "study.json as a pipe": of_study("study.json", as_pipe),
    "a damaged record of a failure": of_study("failed/cost.json", in_place),
    "a damaged record of a call": of_study("calls/20200101T000000000000-1.json", in_place),
    "strays of a file manager": stray(
        "runs/.DS_Store", "tables/.DS_Store", "RUN/.DS_Store", "RUN/checkpoints/.DS_Store",
        "RUN/probes/.DS_Store", "RUN/probes/._cost.parquet", "tables/._cost.parquet",
        "failed/._x.json",
    ),
    "notes in a run's folder": stray("RUN/notes.txt", "RUN/checkpoints/old", "runs/notes.txt"),
    "a checkpoint of another run added": another_runs_checkpoint,
    "a second copy of a run": lambda folder: shutil.copytree(
        two(folder)[0], folder / "runs" / "copy"
    ),
}  # fmt: skip
# a run's own tables and weights are compared where they are read
UNREAD = ("a probe's table of another run", "a cut probe table", "another number in a probe's",
          "weights of another run", "a flipped weight", "no digests",
          "a damaged record of a call", "a table with another number and its digest",
          "an item with its digest")  # fmt: skip


def delete(path):
    shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_is_told_or_makes_no_difference(name, study, numbers, file, tmp_path, capsys):
    folder = shutil.copytree(study, tmp_path / "out")
    MUTATIONS[name](folder)
    found = verify(folder)
    told = [*found.problems, *found.notes]
    assert told, "nothing is told"
    assert all("\n" not in line and len(line) < 600 for line in told)
    try:
        results = study_results.read(folder)
        text = page.render([folder], assets=True)
    except InputError as error:
        assert "\n" not in str(error)
        assert "run" in str(error)  # the remedy
    else:
        if shown(results) != numbers and "its digest" not in name:  # verification tells that
            assert results.warnings
            assert any(line[:40] in capsys.readouterr().err for line in results.warnings)
        assert "<html" in text
        study_status(folder)
    again = runner.run_study(file, folder, HERE)
    assert again.failed == ()
    assert shown(study_results.read(folder)) == numbers or "its digest" in name
    left = verify(folder).problems
    for problem in left:  # what the study does not read it does not repair; the remedy does
        named = re.search(r"delete (/[^ ;]+)", problem) or re.search(r"(/[^ ;]+)", problem)
        delete(named[1])
    if left:
        assert name.startswith(UNREAD)
        assert runner.run_study(file, folder, HERE).failed == ()
        assert shown(study_results.read(folder)) == numbers
        assert verify(folder).problems == ()


@pytest.mark.parametrize("name", ["a probe's table of another run", "a cut probe table"])
def test_a_runs_own_table_is_measured_again(name, study, file, tmp_path, capsys):
    folder = shutil.copytree(study, tmp_path / "out")
    one, _ = two(folder)
    before = table.read(one / "probes" / "task_items.parquet").frame
    MUTATIONS[name](folder)
    (folder / "tables" / "task_items.parquet").unlink()
    assert runner.run_study(file, folder, HERE).failed == ()
    assert table.read(one / "probes" / "task_items.parquet").frame.equals(before)
    assert "measuring again" in capsys.readouterr().err
    assert verify(folder).problems == ()


def test_a_folder_of_runs_says_what_is_not_its_own(study, tmp_path):
    runs = shutil.copytree(study / "runs", tmp_path / "runs")
    one, other = sorted(runs.iterdir())[:2]
    shutil.copytree(one, runs / "copy")
    shutil.copy(one / "probes" / "cost.parquet", other / "probes" / "cost.parquet")
    (other / "probes" / "odd.parquet").write_bytes(b"half")
    results = study_results.read(runs)
    assert list(results.damaged) == ["copy"]
    assert "is a copy of run" in results.damaged["copy"]
    assert set(results.unreadable) == {"cost", "odd"}
    assert other.name not in set(results.tables["cost"].frame["run"])
    assert len(verify(runs).problems) >= 3


def test_a_run_that_was_renamed_is_still_that_run(study, tmp_path):
    run = runs_in(study / "runs")[0]
    renamed = Run(shutil.copytree(run.path, tmp_path / "best"))
    assert renamed.id == run.id
    assert renamed.adapter().is_dir()
    assert verify(renamed.path).problems == ()


def test_a_run_of_a_version_without_named_digests_is_read(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "out")
    one, other = two(folder)
    digests = json.loads((one / "digests.json").read_text())
    record = json.loads((one / "run.json").read_text())
    del record["files"]
    (one / "run.json").write_text(json.dumps(record))
    del digests["files"]["run.json"]
    (one / "digests.json").write_text(json.dumps(digests["files"]))
    (other / "digests.json").unlink()
    record = json.loads((other / "run.json").read_text())
    del record["files"]
    (other / "run.json").write_text(json.dumps(record))
    found = verify(folder)
    assert found.problems == ()
    assert f"{other} has no digests.json" in found.notes[0]
    results = study_results.read(folder)
    assert len(results.runs) == 2
    assert any("has no digests.json" in line for line in results.warnings)
    assert "has no digests.json" in page.render([folder])

from functools import partial

import pytest

from peftlens.reports import page
from peftlens.results import table
from peftlens.runs.run import runs_in
from peftlens.studies import preview, runner
from peftlens.studies.options import StudyOptions


@pytest.fixture
def study(tiny_study, tmp_path):
    file = tmp_path / "study.toml"
    probes = '["task_items", "task_accuracy", "training_log"]'
    settings = f'dtype = "float32"\nseeds = [0, 1, 2]\nprobes = {probes}'
    file.write_text(tiny_study('method = "lora"', settings=settings))
    return file


@pytest.fixture
def carried_out(study, tmp_path, monkeypatch):
    """Carry a study out; return what each showing of its tables saw."""

    def call(share, **how):
        monkeypatch.setattr(preview, "_SHARE", share)
        out, seen = tmp_path / "out", []

        def show():
            trained = len(runs_in(out / "runs"))
            shown = table.read(out / "tables" / "task_accuracy.parquet").frame
            text = page.write(out, warn=False).read_text()
            assert f"So far {trained} of 3 runs {'is' if trained == 1 else 'are'} trained." in text
            (row,) = shown.to_dict("records")
            seen.append((trained, row["n_seeds"]))

        runner.run_study(study, out, StudyOptions(workers=0, show=show, **how))
        return out, seen

    return call


def test_scores_are_shown_as_runs_end(carried_out, capsys):
    out, seen = carried_out(share=0)
    assert seen == [(1, 1), (2, 2)]
    assert "So far" not in page.write(out).read_text()
    frame = table.read(out / "tables" / "task_accuracy.parquet").frame
    assert frame["n_seeds"].tolist() == [3]  # in the end that of all runs
    assert table.read(out / "tables" / "training_log.parquet").frame["run"].nunique() == 3
    assert "not measured" not in capsys.readouterr().err


def test_showing_takes_a_small_share_of_the_time(carried_out):
    assert len(carried_out(share=1e9)[1]) == 1


def test_where_others_work_too_the_last_one_writes_the_tables(carried_out):
    assert carried_out(share=0, shard=(1, 1))[1] == []


def test_a_page_that_cannot_be_written_costs_no_run(study, tmp_path, monkeypatch, capsys):

    def broken(*_, **__):
        raise ValueError("no page")

    monkeypatch.setattr(page, "write", broken)
    show = partial(page.write_while_running, tmp_path / "out")
    outcome = runner.run_study(study, tmp_path / "out", StudyOptions(workers=0, show=show))
    assert not outcome.failed
    assert len(outcome.runs) == 3
    assert "The report will be written at the end: no page" in capsys.readouterr().err

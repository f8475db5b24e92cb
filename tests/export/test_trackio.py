"""Runs in Trackio's store, read by Trackio; by a stand-in where it is not installed."""

import finished
import pytest
import trackers

from peftlens.errors import InputError
from peftlens.export import trackio
from peftlens.export.experiment_run import experiment_runs
from peftlens.results import study_results


@pytest.fixture
def runs(tmp_path):
    configs = [finished.lora(rank, 0) for rank in (1, 8)]
    folder = finished.study(tmp_path / "study", configs, name="a study")
    return experiment_runs(study_results.read(folder))


@pytest.fixture
def store(monkeypatch, tmp_path):
    """Trackio with its files in a folder of this test's own."""
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    package = trackers.module(monkeypatch, "trackio")
    if hasattr(package, "utils"):  # read once, on import
        from trackio import sqlite_storage, utils

        for one in (package, sqlite_storage, utils):
            monkeypatch.setattr(one, "TRACKIO_DIR", tmp_path / "trackio")
        (tmp_path / "trackio").mkdir()
    return package


def logs(run, project):
    if hasattr(run, "logs"):
        return run.logs
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage.get_logs(project, run.name, run_id=run.id)


def test_a_project_of_a_study(store, runs, tmp_path, capsys):
    told = trackio.export(runs, tmp_path / "trackio")
    assert (told.written, told.place) == (2, str(tmp_path / "trackio"))
    assert capsys.readouterr().out == ""
    found = {run.config["peftlens_run"]: run for run in store.Api().runs("a study")}
    one = found[runs[1].id]
    assert one.name == runs[1].name
    assert one.config | runs[1].hyperparameters == one.config
    assert one.config["_Group"] == "lora rank=8 learning_rate=0.001"
    lines = logs(one, "a study")
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (10, 2.0), (20, 1.0), (30, 2 / 3), (40, 0.5)]  # fmt: skip
    assert lines[-1]["results/test_score"] == runs[1].results["test_score"]


def test_a_second_export_replaces_the_first(store, runs, tmp_path):
    for _ in range(2):
        trackio.export(runs, tmp_path / "trackio", "paper")
    found = [*store.Api().runs("paper")]
    assert sorted(run.config["peftlens_run"] for run in found) == [run.id for run in runs]
    assert {len(logs(run, "paper")) for run in found} == {6}


def test_what_trackio_refuses_is_one_line(store, runs, tmp_path):  # noqa: ARG001
    with pytest.raises(InputError, match="refuses project 'registry-x': .*; give --project"):
        trackio.export(runs, tmp_path / "trackio", "registry-x")


def test_nothing_is_sent_elsewhere(runs, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "org/space")
    with pytest.raises(InputError, match="TRACKIO_SPACE_ID is set, and the export is local; unset"):
        trackio.export(runs)

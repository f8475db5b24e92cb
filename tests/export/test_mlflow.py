"""Runs in MLflow's store, read by MLflow's client; by a stand-in where it is not installed."""

from dataclasses import replace

import finished
import pytest
import trackers

from peftlens.errors import InputError
from peftlens.export import mlflow
from peftlens.export.experiment_run import experiment_runs
from peftlens.results import study_results


@pytest.fixture
def runs(tmp_path):
    configs = [finished.lora(rank, 0) for rank in (1, 8)]
    return experiment_runs(study_results.read(finished.study(tmp_path, configs, name="a: study")))


@pytest.fixture
def client(monkeypatch, tmp_path):
    package = trackers.module(monkeypatch, "mlflow")
    return package.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'm.db'}")


def stored(client, name="a: study"):
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags["peftlens.run"]: run for run in found}


def test_an_experiment_of_a_study(client, runs, tmp_path):
    told = mlflow.export(runs, tmp_path / "m.db")
    assert (told.written, told.unchanged) == (2, 0)
    found = stored(client)[runs[1].id]
    assert (found.info.run_name, found.info.status) == (runs[1].name, "FINISHED")
    assert found.info.end_time - found.info.start_time == pytest.approx(12_500, abs=1)
    assert found.data.params["rank"] == "8"
    assert found.data.params["seed"] == "0"
    assert found.data.tags["peftlens.group"] == "lora rank=8 learning_rate=0.001"
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(10, 2.0), (20, 1.0), (30, 2 / 3),
                                                          (40, 0.5)]  # fmt: skip
    (score,) = client.get_metric_history(found.info.run_id, "results/test_score")
    assert (score.step, score.value) == (40, runs[1].results["test_score"])


def test_again_nothing_is_written_and_new_values_replace_the_old(client, runs, tmp_path):
    mlflow.export(runs, tmp_path / "m.db")
    told = mlflow.export(runs, tmp_path / "m.db")
    assert (told.written, told.unchanged) == (0, 2)
    assert len(stored(client)) == 2
    measured = replace(runs[0], results=runs[0].results | {"test_score": 0.125})
    told = mlflow.export([measured, runs[1]], tmp_path / "m.db")
    assert (told.written, told.unchanged) == (1, 1)
    assert stored(client)[runs[0].id].data.metrics["results/test_score"] == 0.125
    experiment = client.get_experiment_by_name("a: study")
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_an_incomplete_run_is_written_again(client, runs, tmp_path):
    experiment = client.create_experiment("paper")
    client.create_run(experiment, tags={"peftlens.run": runs[0].id})
    assert mlflow.export(runs, tmp_path / "m.db", "paper").written == 2
    assert stored(client, "paper")[runs[0].id].info.status == "FINISHED"


def test_limits_of_mlflow(client, runs, tmp_path):
    """Batches of 1,000 metrics and 100 parameters; names and values of some length and letters."""
    long = replace(
        runs[0],
        history={step: {"rewards/chosen": 0.5, "a(b)@c": 1.0} for step in range(600)},
        hyperparameters={f"option{n}": "x" * 7000 for n in range(101)},
    )
    mlflow.export([long], tmp_path / "m.db")
    found = stored(client)[long.id]
    assert len(found.data.params) == 101
    assert {len(text) for text in found.data.params.values()} == {6000}
    assert len(client.get_metric_history(found.info.run_id, "rewards/chosen")) == 600
    assert len(client.get_metric_history(found.info.run_id, "a_b__c")) == 600


def test_a_diverged_run_has_failed(client, runs, tmp_path):
    mlflow.export([replace(runs[0], status="diverged")], tmp_path / "m.db")
    assert stored(client)[runs[0].id].info.status == "FAILED"


def test_what_mlflow_refuses_is_one_line(client, runs, tmp_path):
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(InputError, match=r"MLflow's store sqlite:///.*m\.db: .*deleted") as caught:
        mlflow.export(runs, tmp_path / "m.db", "gone")
    assert "\n" not in str(caught.value)

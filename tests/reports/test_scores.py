import finished
import pandas as pd
import pytest

from peftlens.reports.scores import best_row, main_metric, scores
from peftlens.results import study_results
from peftlens.results.table import Table
from peftlens.results.untrained import write_untrained
from peftlens.runs.run import Run

BARE = ("parameter_count",)


def of(one, metric):
    return one[one["metric"] == metric]


def test_a_measured_study_has_its_test_scores_only(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0), finished.lora(2, 0)])
    found = scores(study_results.read(folder))
    assert main_metric(found) == "accuracy"
    assert not found["metric"].str.startswith("validation").any()


def test_runs_without_a_test_score_have_their_validation(tmp_path):
    configs = [finished.lora(1, seed) for seed in (0, 1)]
    folder = finished.study(tmp_path, configs, probes=BARE)
    found = scores(study_results.read(folder))
    (row,) = of(found, "validation accuracy").to_dict("records")
    assert main_metric(found) == "validation accuracy"
    assert (row["mean"], row["n_seeds"], row["seeds"]) == (0.75, 2, "0 1")
    assert len(of(found, "trainable parameters")) == 1  # that of the probe


@pytest.fixture
def lone(tmp_path):
    """A run that is alone, with 0.75 on validation."""
    finished.run(tmp_path, finished.lora(1, 0), 0)
    return tmp_path / "000000000000"


def test_a_run_has_the_untrained_scores_beside_its_own(lone):
    write_untrained(Run(lone), {"validation_accuracy": 0.5, "validation_loss": 2.0})
    found = scores(study_results.read(lone))
    rows = of(found, "validation accuracy").set_index("method")["mean"]
    assert rows.to_dict() == {"lora": 0.75, "frozen": 0.5}
    assert best_row(found, "validation accuracy")["mean"] == 0.75


def test_the_interval_of_one_accuracy_is_over_its_examples(lone, monkeypatch):
    results = study_results.read(lone)
    monkeypatch.setitem(results.runs[0].record.results, "examples", {"validation": 100})
    (row,) = of(scores(results), "validation accuracy").to_dict("records")
    assert row["n_items"] == 100
    assert row["ci_low"] == pytest.approx(0.6569, abs=1e-3)  # Wilson's, for 75 of 100


def test_the_best_is_the_lowest_loss_and_no_baseline():
    rows = [("a", "lora", 0.5), ("b", "full", 0.25), ("c", "frozen", 0.1), ("d", "majority", 0.0)]
    frame = pd.DataFrame(rows, columns=["configuration", "method", "mean"])
    frame = frame.assign(metric="loss", better="lower")
    assert best_row(frame, "loss")["configuration"] == "b"
    assert main_metric(frame[frame["method"] == "frozen"]) is None


def test_tags_and_numbers_have_the_scores_of_their_heads(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)], probes=BARE)
    frame = pd.DataFrame([{"configuration": "lora", "method": "lora", "accuracy": None,
                           "entity_f1": 0.75, "n_seeds": 1, "n_items": 40}])  # fmt: skip
    results = study_results.read(folder)
    results.tables["task_accuracy"] = Table("task_accuracy", 1, (), (), frame)
    found = scores(results)
    assert main_metric(found) == "entity f1"
    assert best_row(found, "entity f1")[["mean", "n_items"]].tolist() == [0.75, 40]


def test_nothing_without_runs(tmp_path):
    folder = finished.study(tmp_path, [], probes=())
    assert scores(study_results.read(folder)).empty

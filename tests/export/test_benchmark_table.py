from dataclasses import replace

import finished
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from peftlens.errors import InputError
from peftlens.export.benchmark_table import (
    COLUMNS,
    benchmark_table,
    missing_metrics,
    separated,
)
from peftlens.export.table_formats import caption, markdown
from peftlens.results import study_results, table
from peftlens.results.table import Table, measured


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    configs = [finished.lora(rank, seed, rate)
               for rank in (1, 8) for rate in (1e-3, 3e-3) for seed in (0, 1)]  # fmt: skip
    configs += [finished.plain("prompt_tuning", 0, num_virtual_tokens=3)]
    return study_results.read(finished.study(tmp_path_factory.mktemp("study"), configs))


def test_a_row_for_each_configuration_at_its_best_rate_and_each_metric(one):
    found = benchmark_table(one)
    assert tuple(found.columns) == COLUMNS
    assert list(dict.fromkeys(found["configuration"])) == [
        "lora rank=1", "lora rank=8", "prompt_tuning num_virtual_tokens=3",
    ]  # fmt: skip
    assert found.groupby("configuration")["metric"].nunique().tolist() == [8, 8, 8]
    assert set(found["task"]) == {"bbc_topic"}


def test_accuracy_is_that_of_the_runs_at_the_best_rate(one):
    cost = measured(one.tables["cost"].frame)
    items = measured(one.tables["task_items"].frame)
    own = cost[cost["configuration"].str.startswith("lora rank=8 ")]
    rate = own.groupby("learning_rate")["validation_accuracy"].mean().idxmax()
    runs = own[own["learning_rate"] == rate]["run"]
    right = items[items["run"].isin(runs)]
    row = benchmark_table(one, ("accuracy",)).set_index("configuration").loc["lora rank=8"]
    assert row["mean"] == pytest.approx((right["chosen"] == right["correct"]).mean())
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert (row["n_seeds"], row["n_items"], row["seeds"]) == (2, 40, "0 1")
    assert row["ci_method"] == "mixed model over seeds and items"


def test_exact_numbers_have_no_interval_and_one_seed_has_that_of_items(one):
    found = benchmark_table(one).set_index(["configuration", "metric"])
    exact = found.loc[("lora rank=8", "trainable parameters")]
    assert (exact["mean"], exact["ci_method"]) == (460_800, "exact")
    assert pd.isna(exact["ci_low"])
    lost = found.loc[("prompt_tuning num_virtual_tokens=3", "forgetting on wiki")]
    assert (lost["mean"], lost["ci_low"], lost["ci_high"]) == pytest.approx((0.3, 0.2, 0.4))
    assert lost["ci_method"] == "bootstrap over items"
    assert found.loc[("lora rank=8", "forgetting on wiki")]["ci_method"] == "Student's t over seeds"


def steps_of(folder, configs, ended_early=()):
    """Steps by method; some runs, by their place, ended at step 7."""
    one = study_results.read(finished.study(folder, configs))
    for place in ended_early:
        one.runs[place].record.results["steps"] = 7
    found = benchmark_table(one)
    found = found[found["metric"] == "steps"]
    return dict(zip(found["method"], found["mean"], strict=True))


def test_unequal_steps_are_told(tmp_path):
    prompt, *loras = (
        finished.plain("prompt_tuning", 0, num_virtual_tokens=3), finished.lora(8, 0),
        finished.lora(8, 1),
    )  # fmt: skip
    training = prompt.training.model_copy(update={"max_steps": 120})
    longer = prompt.model_copy(update={"training": training})
    assert steps_of(tmp_path / "equal", [prompt, *loras]) == {}
    assert steps_of(tmp_path / "early", [prompt, *loras], ended_early=[2]) == {}
    found = steps_of(tmp_path / "unequal", [longer, *loras], ended_early=[2])
    assert found == {"prompt_tuning": 120, "lora": 40}


def test_forgetting_over_several_seeds_has_an_interval_over_items_too(tmp_path):
    """Seeds that agree: the interval is Student's t of the texts, by scipy."""
    folder = finished.study(tmp_path, [finished.lora(1, seed) for seed in (0, 1)])
    file = folder / "tables" / "forgetting.parquet"
    rows = table.read(file).frame
    changes = np.random.default_rng(0).normal(0.3, 0.1, 20)
    items = rows[rows["suite"] == "wiki"].merge(pd.DataFrame({"item": range(20)}), how="cross")
    at_end = items["step"].astype(float) / 40
    items = items.assign(base_loss=50.0, tokens=10, base_right=None, right=None,
                         loss=50 + 10 * at_end * changes[items["item"]])  # fmt: skip
    columns = tuple(table.Column(name, name) for name in items)
    one = Table("forgetting_items", 1, columns, (), items)
    table.write(one, folder / "tables" / "forgetting_items.parquet")
    found = benchmark_table(study_results.read(folder), ("forgetting on wiki",)).iloc[0]
    expected = ttest_1samp(changes, 0).confidence_interval()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high))
    assert "seeds and items" in found["ci_method"]


def test_the_majority_baseline_is_a_row_without_seeds(tmp_path, monkeypatch):
    """Class 1 is the most frequent of the training split, and right in 10 of 40 test examples."""
    measurements = finished._measurements

    def with_classes(*arguments):
        made = measurements(*arguments)
        for row in made["task_items"]:
            row |= {"majority": 1, "majority_class": "sports", "correct": int(row["item"] < 10)}
        return made

    monkeypatch.setattr(finished, "_measurements", with_classes)
    one = study_results.read(finished.study(tmp_path, [finished.lora(1, seed) for seed in (0, 1)]))
    found = benchmark_table(one)
    row = found.set_index("configuration").loc["majority class 'sports'"]
    assert (row["metric"], row["mean"], row["task"]) == ("accuracy", 10 / 40, "bbc_topic")
    assert (row["n_seeds"], row["n_items"], row["method"]) == (0, 40, "majority")
    assert pd.isna(row["ci_low"])
    assert not row["best"]
    assert "2 seeds" in caption(one, found)
    assert "0.25" in markdown(one, found)


def test_a_metric_is_asked_for_by_its_beginning(one):
    assert set(benchmark_table(one, ("forgetting",))["metric"]) == {
        "forgetting on wiki", "forgetting on news",
    }  # fmt: skip
    with pytest.raises(InputError, match="no metric begins with 'bleu'; this study has accuracy"):
        benchmark_table(one, ("bleu",))


def answers(share, seeds=(0, 1), n=200):
    right = np.zeros((len(seeds), n))
    right[:, : int(share * n)] = 1
    return pd.DataFrame(right, index=list(seeds))


def test_the_best_stands_out_only_from_what_is_clearly_worse():
    methods = {"a": "lora", "b": "full", "c": "lora"}
    good, bad = answers(0.9), answers(0.5)
    assert separated({"a": good, "b": bad}, "higher", methods) == "a"
    assert separated({"a": good, "b": bad}, "lower", methods) == "b"
    assert separated({"a": good, "b": bad, "c": good}, "higher", methods) is None
    assert separated({"a": good, "b": answers(0.5, seeds=(0, 2))}, "higher", methods) is None
    assert separated({"a": good}, "higher", methods) is None


def test_a_sequence_has_its_measures(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)], probes=("cost",))
    rows = [
        {
            "name": "lora (swapped)",
            "configuration": "lora",
            "regime": "swapped",
            "measure": measure,
            "value": 0.5,
            "ci_low": 0.4,
            "ci_high": 0.6,
            "n_seeds": 3,
            "n_items": 50,
        }
        for measure in ("ACC", "F")
    ]
    data = Table("continual", 1, (), (), pd.DataFrame(rows))
    columns = tuple(table.Column(name, name) for name in data.frame)
    table.write(Table("continual", 1, columns, (), data.frame), folder / "tables/continual.parquet")
    found = benchmark_table(study_results.read(folder), ("ACC", "F")).set_index("metric")
    assert found.loc["ACC", "better"] == "higher"
    assert found.loc["F", "better"] == "lower"
    assert found.loc["F", "mean"] == 0.5


def test_nothing_to_give(tmp_path):
    folder = finished.study(tmp_path, [], probes=())
    with pytest.raises(InputError, match="has no results for a benchmark table"):
        benchmark_table(study_results.read(folder))


def test_a_usual_metric_that_is_missing_names_its_probe(one):
    assert missing_metrics(one) == []
    without = replace(one, tables={k: v for k, v in one.tables.items() if k != "forgetting"})
    assert missing_metrics(without) == [
        "No forgetting in this table: add forgetting to `probes` of the study file, and run it "
        "again"
    ]


def test_answers_that_another_probe_needed_are_in_the_table(run, study_file):
    """task_accuracy reads task_items, which the study does not name and each run has."""
    assert run("study", study_file, "--workers", 0, "--out", "out")[0] == 0
    code, out, err = run("table", "out", "--format", "csv")
    assert code == 0
    assert ",accuracy," in out
    assert "No forgetting in this table: add forgetting to `probes`" in err
    assert "No accuracy" not in err
    assert run("table", "out", "--metric", "accuracy")[2] == ""

"""A local task of lm-evaluation-harness as a retention suite."""

import json

import numpy as np
import pandas as pd
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import harness_suite, probe_runner, retention
from peftlens.evaluation.harness import HarnessItem, HarnessScores, harness_scores
from peftlens.evaluation.retention import SuiteOptions, reference, suites
from peftlens.tasks import load_task

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: text
doc_to_target: label
doc_to_choice: [" up", " to the left", " ü"]
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
NAME = "lm_eval:directions"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve documents in a file, scored by acc and acc_norm; and a group of two such tasks."""
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    rows = [{"text": f"the word {n * 7}", "label": n % 3} for n in range(12)]
    for name in ("directions", "others"):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name=name, file=file))
        rows = rows[:5]
    (tmp_path / "both.yaml").write_text("group: both\ntask: [directions, others]\n")
    return tmp_path


def options(folder, name=NAME, items=0, **own):
    own = {"include_path": str(folder)} | own
    return SuiteOptions(suites=(name,), items=items, suite_options={name: own})


def test_it_stands_beside_other_suites_with_the_harness_s_numbers(
    context, bases, words, folder, tmp_path
):
    run = peftlens.train(
        peftlens.RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 8, "batch_size": 4, "learning_rate": 0.05},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    asked = {"suites": [NAME, f"file:{words}"], "items": 10,
             "suite_options": {NAME: {"include_path": str(folder)}}}  # fmt: skip
    found = probe_runner.run_probe(context, run, "forgetting", {"forgetting": asked}).frame
    row, other = found.to_dict("records")
    base = context.base_model(run)
    told = {"include_path": str(folder), "limit": 10}
    before = harness_scores(base.model, base.tokenizer, ["directions"], **told).totals
    with context.open_run(run) as model:
        after = harness_scores(model.eval(), base.tokenizer, ["directions"], **told).totals
    assert row["base_accuracy"] == pytest.approx(before["directions", "acc"])
    assert row["accuracy"] == pytest.approx(after["directions", "acc"])
    assert before != after
    change = after["directions", "acc"] - before["directions", "acc"]
    assert row["accuracy_change"] == pytest.approx(change)
    assert row["accuracy_ci_low"] <= change <= row["accuracy_ci_high"]
    assert (row["n_items"], other["n_items"]) == (10, 10)
    assert pd.isna([row["base_loss"], row["accuracy_per_byte"], row["kl"]]).all()


def test_the_base_is_scored_once(llama, folder, monkeypatch):
    (suite,) = suites(llama, options(folder))
    first = reference(llama, suite).scores.right
    monkeypatch.setattr(harness_suite, "harness_scores", lambda *_: pytest.fail("scored again"))
    assert reference(llama, suites(llama, options(folder))[0]).scores.right.tolist() == [*first]


@pytest.mark.parametrize("change", ["row", "task", "metric", "items", "batch_size"])
def test_whatever_matters_is_in_the_key(llama, folder, change):
    before = retention._key(llama, suites(llama, options(folder))[0])
    own, items = {}, 0
    if change == "row":
        file = folder / "directions.jsonl"
        file.write_text(file.read_text().replace("word 7", "word 8"))
    elif change == "task":
        file = folder / "directions.yaml"
        file.write_text(file.read_text().replace('" up"', '" upward"'))
    elif change == "items":
        items = 4
    else:
        own = {"metric": "acc_norm"} if change == "metric" else {"batch_size": 3}
    assert retention._key(llama, suites(llama, options(folder, items=items, **own))[0]) != before


def test_another_metric_and_a_group(llama, folder):
    (suite,) = suites(llama, options(folder, "lm_eval:both", metric="acc_norm"))
    right = reference(llama, suite).scores.right
    found = harness_scores(
        llama.model, llama.tokenizer, ["directions", "others"], include_path=str(folder)
    )
    expected = [one.score for one in found.items if one.metric == "acc_norm"]
    assert right.tolist() == expected
    assert len(right) == 12 + 5
    assert right[:12].mean() == pytest.approx(found.totals["directions", "acc_norm"])


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"metric": "f1"}, "has no metric 'f1'; set metric to one of acc, acc_norm"),
        ({"shots": 3}, "has no option 'shots'; it has metric, include_path, batch_size"),
        ({"batch_size": "many"}, "lm_eval:directions: batch_size"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"include_path": "/nowhere"}, "include_path='/nowhere' is no folder"),
    ],
)
def test_wrong_options_are_one_line(llama, folder, own, said):
    with pytest.raises(InputError, match=said) as error:
        reference(llama, suites(llama, options(folder, **own))[0])
    assert "\n" not in str(error.value)


def test_a_task_that_is_not_there(llama, folder):
    with pytest.raises(InputError, match="has no task 'absent'; `lm-eval ls tasks`"):
        suites(llama, options(folder, "lm_eval:absent"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("directions.jsonl", "gone.jsonl"),  # no such data
        ("doc_to_target: label", "doc_to_target: '{{ label'"),  # a template that does not end
        ("test_split: test", "test_split: exam"),  # no such split
        ("output_type:", "output_type: ["),  # no YAML
    ],
)
def test_a_task_file_that_can_not_be_used_is_one_line(llama, folder, old, new):
    file = folder / "directions.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError) as error:
        reference(llama, suites(llama, options(folder))[0])
    assert "\n" not in str(error.value)
    assert "directions" in str(error.value)


def test_only_means_of_which_more_is_better_are_scores():
    values = {"mean": (0.0, 1.0, 0.5), "sum": (0.0, 1.0, 1.0), "error": (0.2, 0.4, 0.3)}
    found = HarnessScores(
        tuple(HarnessItem("t", n, name, values[name][n]) for name in values for n in (0, 1)),
        {("t", name): total for name, (*_, total) in values.items()},
        frozenset({("t", "error")}),
    )
    assert harness_suite.mean_metrics(found) == ["mean"]
    assert np.mean(values["error"][:2]) == pytest.approx(values["error"][2])


def test_the_harness_s_tasks_are_no_training_data(llama):
    with pytest.raises(InputError, match="name it in the suites of forgetting"):
        load_task("lm_eval:piqa", {})
    with pytest.raises(InputError, match="'lm_eval:piqa' is a task of lm-evaluation-harness"):
        retention.suite(llama, "lm_eval:piqa", {}, None)

"""Scores of lm-evaluation-harness, whose tasks are local files."""

import json

import pandas as pd
import pytest

import peftlens
from peftlens.data.collate import Collator
from peftlens.errors import InputError
from peftlens.evaluation.harness import harness_scores
from peftlens.evaluation.log_likelihood import choose
from peftlens.probes import harness, harness_items
from peftlens.tasks import load_task

TASK = """
task: letters
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: label
doc_to_choice: choices
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture
def local(tmp_path, words, monkeypatch):
    """The test split of the words as a task of the harness."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    examples = load_task(f"file:{words}", {}).splits["test"]
    file = tmp_path / "letters.jsonl"
    rows = [{"prompt": one.prompt, "choices": list(one.answers), "label": one.correct}
            for one in examples]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "letters.yaml").write_text(TASK.format(file=file))
    return tmp_path, examples


@pytest.mark.parametrize("method", ["frozen", "prompt_tuning"])
def test_items_and_totals_are_the_harness_s_and_agree_with_our_own(
    bases, words, local, tmp_path, context, method, monkeypatch
):
    folder, examples = local
    run = peftlens.train(
        peftlens.RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 5, "batch_size": 4, "learning_rate": 0.1},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    config = harness_items.Config(tasks=("letters",), include_path=str(folder))
    frame = harness_items.measure(context, run, config)
    assert len(frame) == len(examples)
    base = context.base_model(run)
    encoder = Collator.of(base, 64)
    items, _ = encoder.items(examples)
    ours = choose(base.model, encoder, items)
    assert frame["base_score"].tolist() == (ours.by_sum == ours.correct).astype(float).tolist()
    with context.open_run(run) as model:
        tuned = choose(model, encoder, items)
    assert frame["score"].tolist() == (tuned.by_sum == tuned.correct).astype(float).tolist()
    assert frame["base_total"].iloc[0] == pytest.approx(frame["base_score"].mean())
    assert frame["total"].iloc[0] == pytest.approx(frame["score"].mean())
    whole = harness.combine(
        {"harness_items": frame.assign(configuration="c", method=method, run="r", seed=0)}
    ).iloc[0]
    assert whole["change"] == pytest.approx(whole["score"] - whole["base_score"])
    assert whole["became_right"] - whole["became_wrong"] == pytest.approx(whole["change"])
    scored = []

    def count(*arguments, **options):
        scored.append(arguments)
        return harness_scores(*arguments, **options)

    monkeypatch.setattr(harness_items, "harness_scores", count)
    pd.testing.assert_frame_equal(harness_items.measure(context, run, config), frame)
    assert len(scored) == 1  # the base's scores are kept as long as the base


def test_tasks_that_are_not_there_are_named(llama, local):
    folder, _ = local
    with pytest.raises(InputError, match="has no task 'absent'"):
        harness_scores(llama.model, llama.tokenizer, ["absent"], include_path=str(folder))

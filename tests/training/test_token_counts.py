import json

import pytest

import peftlens
from peftlens.runs.config import RunConfig
from peftlens.training.run_plan import plan_run
from peftlens.training.token_counts import token_counts_by_task

# one byte is one token of the tiny bases
ROWS = [{"question": "q" * n, "answer": "a" * (n % 3 + 1)} for n in range(20, 80)]
WRITTEN = {"kind": "generation", "template": "{question}=", "label": "answer"}
PAIRS = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "not at all"} for n in range(10, 40)]


@pytest.fixture
def write(tmp_path):
    def write_rows(rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return f"file:{path}"

    return write_rows


@pytest.fixture
def plan(bases, context):
    def make(task, task_config, **training):
        return plan_run(
            RunConfig(method="lora", task=task, task_config=task_config, device="cpu",
                      base_model=str(bases["llama"]), dtype="float32", training=training),
            context,
        )  # fmt: skip

    return make


def test_rows_tokens_and_cuts(plan, write):
    planned = plan(write(ROWS), WRITTEN, max_length=50)
    (counts,) = token_counts_by_task([planned]).values()
    texts = [(one.prompt, f"{one.answers[0]}.") for one in planned.task.splits["train"]]
    sizes = [len(prompt) + len(answer) for prompt, answer in texts]  # "." stands for the end token
    assert counts.rows == len(texts)
    assert counts.max_length == 50
    assert counts.rows_cut == sum(size > 50 for size in sizes)
    assert counts.tokens == sum(min(size, 50) for size in sizes)
    assert counts.trained_tokens == sum(len(answer) for _, answer in texts)
    assert counts.examples_dropped == 0
    assert counts.in_words().startswith(f"{counts.rows} training rows of {counts.tokens:,} tokens")


def test_a_rejected_answer_is_trained_by_dpo_alone(plan, write):
    file = write(PAIRS)
    by_loss = {loss: plan(file, {"kind": "preference"}, loss=loss) for loss in ("sft", "dpo")}
    found = token_counts_by_task(by_loss.values())
    (sft, dpo), n = found.values(), len(by_loss["sft"].task.splits["train"])
    assert [one.rows for one in (sft, dpo)] == [n, 2 * n]
    ends = len(" yes.") * n
    assert [one.trained_tokens for one in (sft, dpo)] == [ends, ends + len(" not at all.") * n]
    assert [name.rpartition(" (")[2] for name in found] == ["64, sft)", "64, dpo)"]


def test_a_run_records_them(bases, write, tmp_path):
    run = peftlens.train(
        RunConfig(method="lora", task=write(ROWS), task_config=WRITTEN, device="cpu",
                  base_model=str(bases["llama"]), dtype="float32", training={"max_steps": 0}),
        tmp_path / "runs",
    )  # fmt: skip
    told = run.results["training_tokens"]
    assert told["max_length"] == run.config.training.max_length == 64
    assert told["rows"] == run.results["examples"]["train"]
    assert told["rows_cut"] == run.results["n_truncated"]["train"]["prompt cut to max_length"]

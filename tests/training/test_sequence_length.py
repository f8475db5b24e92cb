import json

import numpy as np
import pytest

import peftlens
from peftlens.data.collate import Collator
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.tasks import load_task
from peftlens.training import sequence_length
from peftlens.training.run_plan import plan_run
from peftlens.training.sequence_length import measured_length, resolved_length

WRITTEN = {"kind": "generation", "template": "{question}=", "label": "answer"}


@pytest.fixture
def t5(bases):
    """A base without a limit of its own; a letter is a token."""
    return peftlens.load_base_model(str(bases["t5"]), device="cpu", dtype="float32")


@pytest.fixture
def file(tmp_path):
    """Questions of 1 to 700 letters."""
    rows = [{"question": "q" * n, "answer": "a"} for n in range(1, 701)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{path}"


def test_99_of_100_rows_fit_whole(t5, file, capsys):
    task = load_task(file, WRITTEN)
    length = measured_length(t5, task)
    # letters, "=", the space and letter of the answer, and its end token
    sizes = np.array([len(one.prompt) + 2 + 1 for one in task.splits["train"]])
    assert length % 64 == 0
    assert (sizes <= length).mean() >= 0.99
    assert (sizes <= length - 64).mean() < 0.99
    told = " ".join(capsys.readouterr().err.split())
    assert f": {length} tokens (99 % of the training rows have at most" in told
    _, reasons = Collator.of(t5, length).items(task.splits["train"])
    assert reasons.get("prompt cut to max_length", 0) == (sizes > length).sum()


def test_short_rows_leave_the_default(t5, words):
    assert measured_length(t5, load_task(f"file:{words}", {})) == 256


def test_no_row_is_longer_than_half_of_the_context(llama, file):
    assert measured_length(llama, load_task(file, WRITTEN)) == 64


@pytest.mark.parametrize(
    ("kind", "requested", "measured"),
    [("generation", None, True), ("generation", 100, False), ("generation", "auto", True),
     ("classification", None, False), ("classification", "auto", True)],
)  # fmt: skip
def test_kinds_whose_length_is_measured(t5, file, words, kind, requested, measured, monkeypatch):
    monkeypatch.setattr(sequence_length, "measured_length", lambda *_: 999)
    task = load_task(file, WRITTEN) if kind == "generation" else load_task(f"file:{words}", {})
    found = resolved_length(TrainingConfig(max_length=requested), t5, task)
    assert found == (999 if measured else requested or 256)


def test_a_run_has_the_number_and_planning_it_again_gives_the_same_run(bases, file, context):
    config = RunConfig(
        method="lora", task=file, task_config=WRITTEN, base_model=str(bases["t5"]), device="cpu",
        dtype="float32",
    )  # fmt: skip
    planned = plan_run(config, context)
    assert planned.config.training.max_length == measured_length(planned.base, planned.task)
    assert planned.requested_config.training.max_length == planned.config.training.max_length
    assert plan_run(planned.requested_config, context).id == planned.id
    said = {"training": {"max_length": planned.config.training.max_length}}
    assert plan_run(RunConfig(**config.model_dump() | said), context).id == planned.id


def test_a_length_that_is_none_is_refused_in_one_sentence():
    for wrong in (3, "long"):
        with pytest.raises(ValueError, match="neither 'auto' nor 8 tokens or more"):
            TrainingConfig.model_validate({"max_length": wrong})

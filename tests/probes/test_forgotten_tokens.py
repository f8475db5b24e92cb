import pytest
import torch

import peftlens
from peftlens.probes import forgetting
from peftlens.probes.forgotten_tokens import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task


@pytest.fixture
def run(bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 5, "learning_rate": 0.01},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_tokens_are_those_of_a_plain_forward_pass(context, run, bases):
    frame = measure(context, run, Config(tokens=5))
    assert frame["loss_increase"].is_monotonic_decreasing
    assert frame["share"].is_monotonic_increasing
    assert frame["share"].between(0, 1).all()
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    tuned = run.load()[0]
    for row in frame.to_dict("records"):
        text = load_task("passages_short", {}).splits["test"][row["line"]].answers[0]
        ids = base.tokenizer(text, return_tensors="pt")["input_ids"][:, :64]
        at = row["position"]
        for model, name in ((base.model, "base_loss"), (tuned, "loss")):
            with torch.inference_mode():
                logs = model(ids).logits[0].log_softmax(-1)
            assert row[name] == pytest.approx(-logs[at - 1, ids[0, at]].item(), abs=1e-4)
        assert base.tokenizer.decode(ids[0, at]).replace(" ", "␣") == row["token"]
        assert len(row["context"]) <= 8


def test_all_tokens_together_are_the_rise_of_the_loss(context, run):
    frame = measure(context, run, Config(tokens=10**6))
    (whole,) = forgetting.measure(
        context, run, forgetting.Config(suites=("passages_short",))
    ).to_dict("records")
    assert len(frame) == whole["n_tokens"]
    assert frame["loss_increase"].mean() == pytest.approx(whole["forgetting"])
    assert frame["share"].iloc[-1] == pytest.approx(1)

"""Divergence on the task's answers against plain transformers, one example at a time."""

import pytest
import torch

import peftlens
from peftlens.probes.task_divergence import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import task_of


def test_it_equals_a_plain_reference(context, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32", training={"max_steps": 4, "checkpoint_steps": [0],
                                             "learning_rate": 0.01}),
        tmp_path,
    )  # fmt: skip
    frame = measure(context, run, Config(items=6))
    assert list(frame["step"]) == [0, 4]
    start, end = frame.to_dict("records")
    assert start["task_kl"] == start["ci_low"] == start["ci_high"] == 0
    model = run.load()[0]
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    total, tokens = 0.0, 0
    for example in task_of(run).splits["test"][:6]:
        prompt = base.tokenizer(example.prompt)["input_ids"]
        answer = base.tokenizer(example.answers[example.correct])["input_ids"]
        ids = torch.tensor([[*prompt, *answer]])
        with torch.inference_mode():
            before, after = (
                one(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                for one in (base.model, model)
            )
        total += (before.exp() * (before - after)).sum().item()
        tokens += len(answer)
    assert end["n_tokens"] == tokens
    assert end["task_kl"] == pytest.approx(total / tokens, abs=1e-5)
    assert 0 < end["ci_low"] <= end["task_kl"] <= end["ci_high"]

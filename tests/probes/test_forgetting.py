import pytest
import torch
from torch.nn.functional import cross_entropy

import peftlens
from peftlens.probes import forgetting
from peftlens.run import RunConfig
from peftlens.tasks import load_task


def train(bases, words, out, method, **training):
    return peftlens.train(
        RunConfig(method=method, task=f"file:{words}", base=str(bases["llama"]), device="cpu",
                  dtype="float32", training={"steps": 4, "checkpoint_steps": [0], **training}),
        out,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "bottleneck", "full", "ln_tuning", "last_layers"])
def test_nothing_is_forgotten_before_the_first_step(bases, words, tmp_path, method):
    start, _ = forgetting.measure(train(bases, words, tmp_path, method)).to_dict("records")
    assert start["step"] == 0
    assert start["forgetting"] == start["low"] == start["high"] == 0


def test_a_spoiled_model_is_found_to_have_forgotten(bases, words, tmp_path):
    run = train(bases, words, tmp_path, "full", learning_rate=0.1, steps=10)
    *_, end = forgetting.measure(run).to_dict("records")
    assert end["low"] > 0
    assert end["low"] < end["forgetting"] < end["high"]


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_loss_equals_a_plain_reference(bases, words, tmp_path, method):
    """One line at a time, unpadded, shifted by one, virtual tokens cut off."""
    run = train(bases, words, tmp_path, method)
    model = peftlens.load(run.path)
    tokenizer = peftlens.open_base(str(bases["llama"]), device="cpu").tokenizer
    total, tokens = 0.0, 0
    for example in load_task("wiki", {}).splits["test"]:
        ids = tokenizer(example.answers[0], return_tensors="pt")["input_ids"][:, :64]
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        logits = logits[0, -ids.shape[1] :]
        total += cross_entropy(logits[:-1], ids[0, 1:], reduction="sum").item()
        tokens += ids.shape[1] - 1
    end = forgetting.measure(run).iloc[-1]
    assert end["n_tokens"] == tokens
    assert end["loss"] == pytest.approx(total / tokens, abs=1e-5)

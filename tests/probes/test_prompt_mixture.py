from dataclasses import replace

import numpy as np
import pytest
import torch

import peftlens
from peftlens.diffing.hard_prompts import HardPrompt
from peftlens.errors import InputError
from peftlens.probes import prompt_mixture
from peftlens.probes.prompt_mixture import Config, measure
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

TEXTS = [
    HardPrompt("", "none", ""),
    HardPrompt("up down", "instruction", "own"),
    HardPrompt("qrst", "word", "own"),
    HardPrompt("zzz", "word", "other"),
]


@pytest.fixture(autouse=True)
def dictionary(monkeypatch):
    """The same texts for any task, which is named own."""
    monkeypatch.setattr(prompt_mixture, "hard_prompts", lambda *_: TEXTS)
    real = prompt_mixture.task_of
    monkeypatch.setattr(prompt_mixture, "task_of", lambda run: replace(real(run), name="own"))


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method="prompt_tuning", **options):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config=options,
                training={"max_steps": 0 if options.get("init") else 8, "batch_size": 4,
                          "learning_rate": 0.05},
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


def test_a_prompt_that_is_a_text_of_the_dictionary_is_that_text(context, trained):
    """Untrained vectors that start as a text's tokens: its weight is 1, and it explains all."""
    run = trained(num_virtual_tokens=4, init="text", init_text="qrst")
    frame = measure(context, run, Config(items=8, planted=1))
    whole, text, *_ = frame.to_dict("records")
    assert (text["text"], text["kind"], text["task"]) == ("qrst", "word", "own")
    assert text["weight"] == pytest.approx(1, abs=0.1)
    assert whole["explained"] == pytest.approx(1, abs=0.02)
    assert whole["own_weight"] >= text["weight"]
    assert (whole["n_texts"], whole["n_items"]) == (4, 4)


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_divergences_are_those_of_plain_forward_passes(context, trained, words, llama, method):
    run = trained(method, num_virtual_tokens=3)
    whole = measure(context, run, Config(items=6, planted=1)).iloc[0]
    model, tokenizer = run.load()
    kl = []
    for example in load_task(f"file:{words}", {}).splits["test"][1:6:2]:
        ids = tokenizer(example.prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            q, p = (
                one(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
                .double().log_softmax(-1)
                for one in (model, llama.model)
            )  # fmt: skip
        kl.append((q.exp() * (q - p)).sum().item())
    assert whole["base_kl"] == pytest.approx(np.mean(kl), rel=1e-3)
    assert whole["explained"] <= 1
    assert whole["explained_fit"] >= -1e-6  # the base is one of the texts
    assert 1 / 20 <= whole["p"] <= 1
    assert whole["covered"] == pytest.approx(1, abs=0.05)


def test_a_prompt_without_effect_has_nothing_to_explain():
    assert prompt_mixture._share(0.0, 0.0) == 0
    assert prompt_mixture._share(0.25, 1.0) == 0.75


def test_a_task_without_texts_is_not_applicable(context, trained, monkeypatch):
    monkeypatch.setattr(prompt_mixture, "hard_prompts", lambda *_: TEXTS[::3])
    with pytest.raises(NotApplicable, match="no text states the task"):
        measure(context, trained(num_virtual_tokens=2), Config(items=4))


def test_a_verdict_carries_its_power():
    assert prompt_mixture._verdict(0.05, 0.4) == "explained by texts"
    assert prompt_mixture._verdict(0.1, 0.4).endswith("(power 0.40)")


def test_too_few_inputs_are_refused(context, trained):
    with pytest.raises(InputError, match="items=3 must be finite and at least 4"):
        measure(context, trained(num_virtual_tokens=2), Config(items=3))

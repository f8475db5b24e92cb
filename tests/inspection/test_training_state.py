"""Fresh adapters of every type: untrained is said where plain peft's logits are the base's."""

import warnings

import peft
import pytest
import theirs
import torch
from tiny import build

from peftlens.adapters.adapter_file import read
from peftlens.inspection.inspect import inspect
from peftlens.inspection.training_state import same, untrained
from peftlens.models.dummy_inputs import random_inputs

NEED_OTHER_INPUTS = ("MULTITASK_PROMPT_TUNING", "POLY", "SHADOW")


@pytest.mark.parametrize("kind", [k for k in theirs.BUILDABLE if k not in NEED_OTHER_INPUTS])
def test_a_fresh_adapter_is_untrained_where_it_changes_nothing(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = build("llama").eval()
        inputs = random_inputs(base, 2, 16)
        with torch.no_grad():
            before = base(**inputs).logits
            model = peft.get_peft_model(build("llama"), theirs.config(kind)).eval()
            after = model(**inputs).logits
    changes = not same(after, before, "float32")
    said = untrained(read(theirs.save(model, tmp_path / "a", "org/base")))
    assert said is None or said is not changes
    moved = untrained(read(theirs.save(theirs.wrapped(kind), tmp_path / "b", "org/base")))
    assert not moved


@pytest.mark.parametrize("kind", ["IA3", "VERA", "LN_TUNING", "TRAINABLE_TOKENS"])
def test_with_its_base_the_logits_decide(kind, tmp_path, bases):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(build("llama"), theirs.config(kind))
    fresh = inspect(theirs.save(model, tmp_path / "a", "org/base"), str(bases["llama"]))
    assert any("has not been trained" in one.text for one in fresh.findings)
    moved = theirs.save(theirs.wrapped(kind), tmp_path / "b", "org/base")
    found = inspect(moved, str(bases["llama"]))
    assert not any("has not been trained" in one.text for one in found.findings)


def test_a_trained_head_is_a_training(tmp_path):
    model = theirs.wrapped("LORA", modules_to_save=["lm_head"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    found = inspect(theirs.save(model, tmp_path / "a", "org/base"))
    assert not found.broken
    assert any("only lm_head can have been trained" in one.text for one in found.findings)

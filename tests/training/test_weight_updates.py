from dataclasses import asdict

import pytest
import torch

from peftlens import registry
from peftlens.adapters.checkpoint import attach
from peftlens.training.weight_updates import trained_outside, weight_updates, weights_of


def attached(base, method, **options):
    originals = weights_of(base.model)
    config = registry.configure("methods", method, options)
    model = attach(base.model, method, config)
    return model, weight_updates(model, base.model, originals), asdict(config)


@pytest.mark.parametrize("method", ["lora", "rslora", "pissa", "olora", "full", "last_layers"])
def test_an_untrained_method_changes_no_weight(llama, method):
    model, updates, _ = attached(llama, method)
    assert all(one.value().abs().max() < 1e-5 for one in updates)
    assert [*trained_outside(updates)] == []
    counted = sum(one.weight.numel() for one in updates)
    if method == "full":
        assert counted == sum(p.numel() for p in model.parameters())


def test_gpt2_keeps_its_own_layout(bases):
    from peftlens.models.base_model import load_base_model

    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    shapes = base.shapes
    _, updates, _ = attached(base, "lora")
    assert updates
    assert all(one.value().shape == shapes[one.name] for one in updates)


@pytest.mark.parametrize("method", ["prompt_tuning", "bottleneck", "dora", "loha"])
def test_other_trained_tensors_are_counted_from_their_start(llama, method):
    model, updates, _ = attached(llama, method)
    outside = [*trained_outside(updates)]
    assert len(outside) == len(updates) == sum(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.5)
    assert all(torch.allclose(one.value(), torch.tensor(0.5)) for one in updates)

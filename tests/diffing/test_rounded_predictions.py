"""Effects of rounding on predictions against sums over plain transformers' logits."""

import numpy as np
import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.diffing.rounded_predictions import EffectLeft, RoundedReading, effects_left
from peftlens.diffing.token_divergence import BaseReading
from peftlens.models.snapshot import with_weights

WEIGHT = "model.layers.0.mlp.down_proj.weight"
TEXTS = ("a short text", "another, somewhat longer text", "the third")


def shifted(model, amount):
    return {WEIGHT: model.get_parameter(WEIGHT).detach() + amount}


@torch.inference_mode()
def log_probabilities(model, text):
    ids = torch.tensor([list(text)])
    return model(input_ids=ids).logits[0, :-1].log_softmax(-1)


def test_sums_are_those_of_plain_logits(llama):
    items, _ = Collator.of(llama, 64).items([Example("", (text,)) for text in TEXTS])
    rows = [item.rows[0] for item in items]
    ids = [[*row.prompt, *row.answer] for row in rows]
    own = BaseReading.of(llama, rows)
    with with_weights(llama.model, shifted(llama.model, 0.01)) as model:
        before, b = BaseReading.of(llama, rows), [log_probabilities(model, i) for i in ids]
    with with_weights(llama.model, shifted(llama.model, 0.05)) as model:
        after, c = BaseReading.of(llama, rows), [log_probabilities(model, i) for i in ids]
    plain = [log_probabilities(llama.model, i) for i in ids]
    with with_weights(llama.model, shifted(llama.model, 0.03)) as model:
        attached = [log_probabilities(model, i) for i in ids]
        (found,) = effects_left(model, llama, own, [RoundedReading(before, after)])
    for n, (a, base, without, merged) in enumerate(zip(attached, plain, b, c, strict=True)):
        p = a.exp()
        effect, rounded = a - base, merged - without
        mean = (p * effect).sum(-1), (p * rounded).sum(-1)
        assert found.kl[n] == pytest.approx((p * (a - merged)).sum().item(), abs=1e-5)
        assert found.kl_before[n] == pytest.approx((p * (a - without)).sum().item(), abs=1e-5)
        # the weighted covariance, with its mean taken off at the end
        both = ((p * effect * rounded).sum(-1) - mean[0] * mean[1]).sum().item()
        assert found.product[n] == pytest.approx(both, rel=1e-3)
        assert found.tokens[n] == len(ids[n]) - 1


def left(product, one, other):
    zeros = np.zeros(len(product))
    return EffectLeft(zeros, zeros, *map(np.array, (one, other, product)), zeros)


def test_agreement_by_hand():
    found = left([1.0, 2.0], [2.0, 2.0], [1.0, 8.0])
    assert found.agreement == pytest.approx(3 / (4 * 9) ** 0.5)
    assert found.share == 0.75
    interval = found.agreement_interval(np.random.default_rng(0))
    assert interval.low == pytest.approx(2 / (2 * 8) ** 0.5)  # the second text twice
    assert interval.high == pytest.approx(1 / 2**0.5)
    assert left([0.0, 0.0], [1.0, 1.0], [0.0, 0.0]).agreement == 0
    assert left([1.0], [1.0], [1.0]).agreement_interval(np.random.default_rng(0)).low is None

"""Predictions in low precision: how much of an adapter's effect on them a rounded model still has.

Rounding weights changes a model's predictions by itself, with or without an adapter. So the effect
of merging is measured between two rounded models: one with the update and one without. It is
compared with the adapter's own effect, between the attached model and its base, at each token of
texts. Both are differences of log-probabilities over the vocabulary, less their mean, and the
inner product of two of them weights each word by the attached model's probability: the Fisher
metric, in which ½‖d‖² is KL to second order (Amari & Nagaoka 2000, Methods of Information Geometry,
section 2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Batch
from peftlens.diffing.token_divergence import BaseReading, logits_after_head, text_batches
from peftlens.evaluation.log_likelihood import answer_states
from peftlens.evaluation.token_chunks import chunks
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import Interval, paired_interval

_SUMS = 5  # of each token: two divergences, two squared lengths and their inner product


@dataclass(frozen=True)
class RoundedReading:
    """What a model of rounded weights reads of some texts.

    Attributes:
        before: reading without the update.
        after: reading with it.
    """

    before: BaseReading
    after: BaseReading


@dataclass(frozen=True)
class EffectLeft:
    """Comparison of the effects on n texts, each summed over the tokens of the text; shapes (n,).

    Attributes:
        kl: KL(attached || rounded with the update), nats.
        kl_before: KL(attached || rounded without it), nats.
        effect: squared length of the adapter's effect.
        rounded_effect: squared length of the effect of merging between the rounded models.
        product: inner product of the two effects.
        tokens: number of tokens.
    """

    kl: NDArray[np.float64]
    kl_before: NDArray[np.float64]
    effect: NDArray[np.float64]
    rounded_effect: NDArray[np.float64]
    product: NDArray[np.float64]
    tokens: NDArray[np.float64]

    @property
    def agreement(self) -> float:
        """Cosine of the two effects: 1 if they are parallel, about 0 if one is noise."""
        return float(_cosine(self.product, self.effect, self.rounded_effect))

    @property
    def share(self) -> float:
        """Length of the rounded effect along the adapter's, as a share of it."""
        return float(self.product.sum() / self.effect.sum())

    def agreement_interval(self, rng: np.random.Generator) -> Interval:
        """95 % bootstrap interval of the agreement over texts; percentiles, 2,000 resamples."""
        return paired_interval((self.product, self.effect, self.rounded_effect), _cosine, rng)


def _cosine(
    product: NDArray[np.float64],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    axis: int = -1,
) -> NDArray[np.float64]:
    """Cosine from sums over texts; 0 where a length is 0, as if nothing were left."""
    lengths = np.sqrt(one.sum(axis=axis) * other.sum(axis=axis))
    return np.divide(product.sum(axis=axis), lengths, out=np.zeros_like(lengths), where=lengths > 0)


def effects_left(
    attached: nn.Module,
    base: BaseModel,
    reading: BaseReading,
    rounded: Sequence[RoundedReading],
) -> list[EffectLeft]:
    """Compare rounded models with an adapter, token by token.

    Args:
        attached: model with the adapter attached, in float32.
        base: its base model.
        reading: what the base without the update reads of the texts.
        rounded: what rounded models read of the same texts, for one precision each.
    """
    n = len(reading.rows)
    sums = np.zeros((len(rounded), _SUMS, n))
    for at, (indices, batch) in enumerate(text_batches(base, reading.rows)):
        texts = np.repeat(indices, [reading.rows[index].scored for index in indices])  # (t,)
        with torch.inference_mode():
            logits = answer_states(attached, batch)[1]  # (t, V)
            own = _logits(reading, at, attached, batch)
            for of_precision, one in zip(sums, rounded, strict=True):
                models = (_logits(each, at, attached, batch) for each in (one.before, one.after))
                for total, values in zip(
                    of_precision, _token_sums(logits, own, *models), strict=True
                ):
                    total += np.bincount(texts, values, n)
    tokens = np.array([row.scored for row in reading.rows], float)
    return [
        EffectLeft(kl, before, effect, rounded_effect, product, tokens)
        for kl, before, effect, rounded_effect, product in sums
    ]


def _logits(reading: BaseReading, at: int, model: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the logits (t, V) of the batch at a position from what its head read."""
    return logits_after_head(model, batch, nn.functional.linear(reading.states[at], *reading.head))


def _token_sums(*logits: torch.Tensor) -> NDArray[np.float64]:
    """Compute the sums of `EffectLeft` for each token, shape (5, t).

    Args:
        logits: of the attached model, the base, and the rounded models without and with the
            update, float32, shape (t, V) each.
    """
    words = min(one.shape[-1] for one in logits)  # the adapter may have added tokens
    found = []
    for parts in chunks(*(one[:, :words] for one in logits)):
        attached, base, before, after = (one.log_softmax(dim=-1) for one in parts)  # (few, V)
        weights = attached.exp()
        effect, rounded = (
            difference - (weights * difference).sum(dim=-1, keepdim=True)
            for difference in (attached - base, after - before)
        )
        pairs = (effect, effect), (rounded, rounded), (effect, rounded)
        sums = [(weights * (attached - one)).sum(dim=-1) for one in (after, before)]
        sums += [(weights * one * other).sum(dim=-1) for one, other in pairs]
        found.append(torch.stack(sums).double().cpu().numpy())
    return np.concatenate(found, axis=1)

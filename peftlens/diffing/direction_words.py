"""Words of directions: what the vocabulary says of what a weight writes, or reads.

A direction that is written into the residual stream is read through the base's final norm and head,
minus what these make of zero; one that is read from it, by its cosine to the input embeddings,
without their mean. Both signs are tested, because a direction is one up to its sign. The same test
of random directions shows how many are found by chance, and that of directions with a known cosine
to words of the training text its power.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from peftlens.diffing.directions import Float, Side
from peftlens.diffing.patching import head_logits, replaced
from peftlens.diffing.projections import random_directions
from peftlens.diffing.word_relevance import WordScores
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.vocab.clusters import centered
from peftlens.vocab.vocabulary import vocabulary

LEVEL = 0.05
COSINES = (0.2, 0.4, 0.8)  # of planted directions to one that means words of the training text
TYPICAL = 1.96  # least log-odds, a z-score, of words typical of the training text
_WORDS = 50  # most typical words, of which planted directions mean some
_MEANT = 5
_PLANTED = 40  # planted directions for each cosine


def readings(base: BaseModel, side: Side, vectors: Float) -> NDArray[np.float32]:
    """Read directions by the vocabulary.

    Args:
        base: base model without an attached method.
        side: whether they are written into the residual stream or read from it.
        vectors: unit directions, shape (d, k).

    Returns:
        A value for each token, shape (k, V); the opposite directions have the opposite values,
        exactly if they are read and up to the final norm's epsilon if they are written.
    """
    rows = torch.from_numpy(np.ascontiguousarray(vectors.T)).float()  # (k, d)
    if side == "writes":
        logits = head_logits(base, torch.cat([rows, torch.zeros_like(rows[:1])]))
        return (logits[:-1] - logits[-1]).cpu().numpy()
    return rows.numpy() @ _centered(base).T


def _centered(base: BaseModel) -> NDArray[np.float32]:
    """Return the embeddings without their mean, of unit length, shape (V, d); cached."""
    return base.derived("centered embeddings", lambda: centered(vocabulary(base)))


def both_signs(
    base: BaseModel, side: Side, vectors: Float
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield 1 and -1 with the values of the tokens (V,), for each direction of (d, k)."""
    for start in range(0, vectors.shape[1], 64):  # values of 64 directions fit in memory
        for values in readings(base, side, vectors[:, start : start + 64]):
            yield 1, values
            yield -1, -values


@dataclass(frozen=True)
class Chance:
    """Lists of words of random and of planted directions, tested like those of a run.

    Attributes:
        found: share of the lists of random directions with p at most 0.05.
        power: share of planted directions with p at most 0.01, by cosine; NaN if no word is typical
            of the training text.
    """

    found: float
    power: dict[float, float]


def chance(base: BaseModel, side: Side, scores: WordScores, *, random: int, listed: int) -> Chance:
    """Test random directions, and directions that mean words of the training text.

    Args:
        base: base model without an attached method.
        side: side of the directions.
        scores: scores of the words for the training text.
        random: number of random directions.
        listed: number of words of a list.
    """
    rng = np.random.default_rng(0)
    drawn = random_directions(vocabulary(base).table.shape[1], random, rng)
    ps = [
        scores.test(scores.ranked(values), listed=listed).p
        for _, values in both_signs(base, side, drawn)
    ]
    power = dict.fromkeys(COSINES, float("nan"))
    for cosine in COSINES if (scores.scores > TYPICAL).any() else ():
        planted = _planted(base, side, scores, cosine, rng)
        found = [
            scores.test(scores.ranked(values), listed=listed).p <= 0.01
            for sign, values in both_signs(base, side, planted)
            if sign > 0
        ]
        power[cosine] = float(np.mean(found))
    return Chance(float(np.mean(np.array(ps) <= LEVEL)), power)


def _planted(
    base: BaseModel, side: Side, scores: WordScores, cosine: float, rng: np.random.Generator
) -> Float:
    """Draw unit directions (d, 40) with this cosine to one that means five typical words."""
    first = np.argsort(-scores.scores)[:_WORDS]
    typical = scores.tokens[first[scores.scores[first] > TYPICAL]]
    meant = np.stack(
        [rng.choice(typical, min(_MEANT, len(typical)), replace=False) for _ in range(_PLANTED)]
    )
    centers = _written(base, meant, rng) if side == "writes" else _read(base, meant)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    noise = rng.normal(size=centers.shape)
    noise -= (noise * centers).sum(axis=1, keepdims=True) * centers
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (cosine * centers + np.sqrt(1 - cosine**2) * noise).T


def _read(base: BaseModel, meant: NDArray[np.int64]) -> Float:
    """Sum the centered embeddings of tokens, (n, tokens) to (n, d)."""
    return _centered(base)[meant].sum(axis=1).astype(float)


def _written(base: BaseModel, meant: NDArray[np.int64], rng: np.random.Generator) -> Float:
    """Return directions that raise the logits of tokens most, (n, tokens) to (n, d).

    They are the gradients at random states: what the final norm scales or removes counts. Where its
    gains are uneven they raise other tokens as well, so that the power is a lower bound.
    """
    width = vocabulary(base).table.shape[1]
    states = torch.from_numpy(rng.normal(size=(len(meant), width))).float().to(base.device)
    states.requires_grad_()
    ids = torch.zeros(len(meant), 1, dtype=torch.long, device=base.device)
    with torch.enable_grad(), replaced(base.model, blocks(base.shapes)[-1], 0, states):
        logits = base.model(input_ids=ids, use_cache=False).logits[:, 0].float()  # (n, V)
        tokens = torch.from_numpy(meant).to(base.device)
        raised = (logits.gather(1, tokens).mean(dim=1) - logits.mean(dim=1)).sum()
        (gradients,) = torch.autograd.grad(raised, states)
    return gradients.double().cpu().numpy()

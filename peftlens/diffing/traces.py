"""Traces: words that vectors of the residual stream raise, and whether they are the training's.

Each vector's list of words is tested by `word_relevance`; the p-values of all vectors of a run are
corrected together. A negative result stands beside the test's power: the share found of planted
vectors, which point with a known cosine to ten words of the training text and else nowhere.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.diffing.patching import head_logits
from peftlens.diffing.trace_verdict import LEVEL
from peftlens.diffing.word_relevance import Relevance, WordScores
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results.table import Column
from peftlens.vocab.planted import COSINES, Power, toward
from peftlens.vocab.vocabulary import vocabulary

_SHOWN = 20  # words and tokens of a list
_PLANTED = 40  # vectors for each cosine
_WORDS = 10  # of the training text, to which a planted vector points
_TYPICAL = 50  # words with the highest scores, from which they are drawn
_TENTH = 0.1  # share of the tested vectors that are planted

COLUMNS = (
    Column("related", f"true if q is at most {LEVEL}: the words are those of the training text"),
    Column("q", "p corrected over all rows of the run", "1"),
    Column("p", "p of the raised words against random words of equal frequency", "1"),
    Column("standardized", "statistic of the test, in standard deviations of its null", "1"),
    Column("words", "list of the most raised words"),
    Column("typical", "list of the tested words that are typical of the training text"),
    Column("raised", "list of the most raised tokens"),
    Column("lowered", "list of the most lowered tokens"),
    *(
        Column(
            f"power_at_{cosine}",
            f"share found of directions with a cosine of {cosine} to words of the training text",
            "1",
        )
        for cosine in COSINES
    ),
    Column("detectable_cosine", "least of these cosines with a power of 0.8 from it on", "1"),
)


def head_reading(base: BaseModel, vectors: torch.Tensor) -> torch.Tensor:
    """Read vectors (n, d) through the final norm and head, minus the reading of a zero vector.

    The zero vector's is that of the norm's and head's biases. Shape (n, V), float32, on the CPU.
    """
    logits = head_logits(base, torch.cat([vectors, torch.zeros_like(vectors[:1])]))
    return (logits[:-1] - logits[-1]).cpu()


def trace_cells(
    base: BaseModel, scores: WordScores | None, changes: torch.Tensor
) -> list[dict[str, Any]]:
    """Return the cells of `COLUMNS` for each change of the logits, shape (n, V).

    A change of zero has none; without scores nothing is tested.
    """
    known = [at for at, change in enumerate(changes) if change.any()]
    cells: list[dict[str, Any]] = [{} for _ in changes]
    for at in known:
        raised, lowered = _extreme_tokens(base, changes[at])
        cells[at] = {"raised": raised, "lowered": lowered}
    if not scores or not known:
        return cells
    tests = _relevances(scores, changes[known])
    power = power_cells(base, scores)
    for at, one, q in zip(known, tests, _corrected(tests), strict=True):
        cells[at] |= power | {
            "related": bool(q <= LEVEL),
            "q": float(q),
            "p": one.p,
            "standardized": one.standardized,
            "words": list(one.words[:_SHOWN]),
            "typical": list(one.typical),
        }
    return cells


def _extreme_tokens(base: BaseModel, change: torch.Tensor) -> tuple[list[str], list[str]]:
    """Return the tokens with the largest and the smallest change (V,), most extreme first."""
    vocab = vocabulary(base)
    usable = vocab.usable[vocab.usable < len(change)]
    order = usable[np.argsort(-change.numpy()[usable], kind="stable")]
    ends = order[:_SHOWN], order[::-1][:_SHOWN]
    raised, lowered = ([vocab.tokens[token] for token in end] for end in ends)
    return raised, lowered


def _relevances(scores: WordScores, changes: torch.Tensor) -> list[Relevance]:
    """Test the words raised by each change of the logits, shape (n, V)."""
    return [scores.test(scores.ranked(change.numpy())) for change in changes]


def _corrected(tests: Sequence[Relevance]) -> NDArray[np.float64]:
    """Return the q-values of all tests of a run, shape (n,)."""
    return benjamini_hochberg([one.p for one in tests])


def is_found(scores: WordScores, changes: torch.Tensor) -> bool:
    """Whether any change of the logits (n, V) raises words of the training text."""
    return bool((_corrected(_relevances(scores, changes)) <= LEVEL).any())


def power_cells(base: BaseModel, scores: WordScores) -> dict[str, Any]:
    """Return the power at each cosine, and the least with a power of 0.8; cached.

    The power is that of one vector if a tenth of all that are tested together are such.

    Args:
        base: base model without an attached method.
        scores: scores of the vocabulary's words.
    """
    power = base.derived(
        "power of traces",
        lambda: Power({cosine: _share_found(base, scores, cosine) for cosine in COSINES}),
        key=scores.scores.tobytes(),
        most=2,
    )
    cells: dict[str, Any] = {f"power_at_{cosine}": share for cosine, share in power.at.items()}
    return cells | {"detectable_cosine": power.detectable}


def _share_found(base: BaseModel, scores: WordScores, cosine: float) -> float:
    rng = np.random.default_rng(0)
    vectors = toward(_directions(base, scores, rng), cosine, rng)
    tests = _relevances(scores, head_reading(base, vectors))
    return float(np.mean([one.p <= _TENTH * LEVEL for one in tests]))


def _directions(base: BaseModel, scores: WordScores, rng: np.random.Generator) -> torch.Tensor:
    """Draw directions, shape (planted, d), that raise ten words each, weighted by their scores.

    Rows of the head share much, so that adding those of any words raises the most frequent words.
    In the inner product of the rows' inverse covariance (Park et al. 2024, arXiv:2311.03658,
    section 3) a direction raises its own words.
    """
    head = cast("nn.Linear", base.model.get_output_embeddings()).weight.detach().float()  # (V, d)
    typical = np.argsort(-scores.scores, kind="stable")[:_TYPICAL]
    rows = head[scores.tokens[typical]] - head.mean(dim=0)  # (typical, d)
    covariance = torch.cov(head.mT)  # (d, d)
    # a table with fewer rows than columns has no inverse without it
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance)).to(head)
    own = nn.functional.normalize(torch.linalg.solve(covariance, rows.mT).mT)
    own *= torch.from_numpy(scores.scores[typical]).to(own)[:, None]
    chosen = np.stack([rng.permutation(len(own))[:_WORDS] for _ in range(_PLANTED)])
    return own[torch.from_numpy(chosen)].mean(dim=1)

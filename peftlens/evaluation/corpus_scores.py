"""Corpus scores: BLEU and chrF of all answers together, by sacrebleu.

A corpus score is a function of counts, such as matching n-grams, that are summed over the answers
before anything is divided. It is no mean of sentence scores. Its interval over items is a bootstrap
of the counts: the same items are drawn for all runs.

Sources: Post 2018, arXiv:1804.08771 (sacrebleu and its signatures); Koehn 2004, EMNLP, section 3
(bootstrap of corpus scores).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from peftlens.evaluation.answer_scores import package
from peftlens.numerics.resampling import LEVEL, Interval, few_interval

MetricName = Literal["bleu", "chrf"]
RESAMPLES = 1000


@dataclass(frozen=True)
class CorpusScore:
    """Corpus score of the answers of one or several runs to the same items.

    Attributes:
        score: mean over the runs of their corpus scores, 0 to 100.
        items: bootstrap interval over items.
        seeds: Student's interval over runs.
        signature: sacrebleu's signature: version, tokenization, number of references.
    """

    score: float
    items: Interval
    seeds: Interval
    signature: str


def corpus_score(
    name: MetricName,
    answers: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    rng: np.random.Generator,
) -> CorpusScore:
    """Score the answers of runs as a corpus, with sacrebleu's defaults.

    Args:
        name: bleu or chrf.
        answers: for each run its answers to the n items.
        references: for each of the n items its right answers, one or more.
        rng: source of the resamples.

    Raises:
        InputError: sacrebleu is not installed.
    """
    metrics = package("sacrebleu.metrics")
    metric = metrics.BLEU(force=True) if name == "bleu" else metrics.CHRF()
    streams = [*zip_longest(*references)]  # the k-th reference of every item; None where it ends
    # sacrebleu has no public name for the counts of single answers, which it resamples itself
    counts = np.array([metric._extract_corpus_statistics(one, streams) for one in answers])
    return CorpusScore(
        score=float(np.mean(_scores(metric, counts.sum(axis=1)))),
        items=_items_interval(metric, counts, rng),
        seeds=few_interval(_scores(metric, counts.sum(axis=1)), (0, 100)),
        signature=str(metric.get_signature()),
    )


def _scores(metric: Any, sums: NDArray[Any]) -> list[float]:
    """Compute scores from summed counts, shape (m, counts)."""
    return [metric._compute_score_from_stats([*map(int, one)]).score for one in sums]


def _items_interval(metric: Any, counts: NDArray[Any], rng: np.random.Generator) -> Interval:
    """Percentile bootstrap over the items of counts of shape (runs, items, counts)."""
    runs, n, size = counts.shape
    if n < 2:
        return Interval(None, None)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # (resamples, items): how often
    sums = np.einsum("bi,ric->brc", drawn, counts)  # (resamples, runs, counts)
    means = np.reshape(_scores(metric, sums.reshape(-1, size)), (RESAMPLES, runs)).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))

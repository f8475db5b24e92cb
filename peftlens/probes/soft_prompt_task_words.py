"""Null tests of the relation between a trained vector's nearest words and words of the task.

Two sets of words represent the task: its labels, and the typical words of its training text against
encyclopedia text (log-odds with a Dirichlet prior, Monroe et al. 2008, Political Analysis 16). The
statistic is the mean over the five nearest words of the highest cosine to a word of the set. It
must exceed that of the neighbors of random directions, of random steps from the initialization, and
of real tokens, in the space of the vectors and in the middle of the model.
"""

import re
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg, log_odds
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of
from peftlens.vocab.null_tests import (
    LEVEL,
    Ids,
    NeighborhoodSpace,
    neighborhoods,
    p_values,
    prompt_means,
)
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 2
WORDS = 50  # maximum number of typical words
_NULLS = ("random_directions", "steps", "real_tokens")
_WORD = re.compile(r"[^\W\d_]{3,}")
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "position of the vector; missing in the row of the whole prompt"),
    Column("words", "set of words: labels of the task, or typical words of its training text"),
    Column("related", "true if q is at most 0.05"),
    Column("q", "largest p of the nulls, corrected over the prompt's vectors", "1"),
    Column("closeness", "mean over the nearest words of the highest cosine to a task word", "1"),
    Column("context_closeness", "closeness in the middle of the model", "1"),
    Column("start_closeness", "closeness before training", "1"),
    *(Column(f"p_{null}", f"p against neighbors of {null.replace('_', ' ')}", "1")
      for null in _NULLS),
    *(Column(f"mean_{null}", f"mean closeness of {null.replace('_', ' ')}", "1")
      for null in _NULLS),
    Column("nearest_words", "list of the five nearest words"),
    Column("task_words", "list of the ten most typical words of the set"),
    Column("n_words", "number of words in the set"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step, set of words and vector, and one per prompt."""
    base = context.base_model(run)
    sets = {"labels": _labels(run, base), "typical": _typical(run, base)}
    sets = {name: ids for name, ids in sets.items() if ids}
    if not sets:
        raise NotApplicable("the task has no labels, and no typical word of it is one token")
    frames = [_measure(run, base, step, *one) for step in run.steps for one in sets.items()]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _labels(run: TrainedModel, base: BaseModel) -> list[tuple[int, ...]]:
    """Tokenize each label as in the answers."""
    texts = [base.tokenizer(label, add_special_tokens=False)["input_ids"]
             for label in task_of(run).labels]  # fmt: skip
    return list(dict.fromkeys(map(tuple, texts)))


def _typical(run: TrainedModel, base: BaseModel) -> list[tuple[int, ...]]:
    """Rank the task's typical single-token words, without the words of its template."""
    prompts = [_words(example.prompt) for example in task_of(run).splits["train"]]
    n_prompts = Counter(word for words in prompts for word in set(words))
    counts = Counter(word for words in prompts for word in words)
    for word, n in n_prompts.items():
        if n > len(prompts) / 2:
            del counts[word]
    background = _encyclopedia()
    words = sorted({*counts, *background})
    if not counts:
        return []
    scores = log_odds([counts[word] for word in words], [background[word] for word in words])
    typical = [word for word, score in zip(words, scores, strict=True) if score > 0]
    tokens = base.tokenizer([f" {word}" for word in typical], add_special_tokens=False)["input_ids"]
    # ties go to the smaller id: the more frequent word in the order of byte-pair merges
    ranked = sorted((-score, *ids) for score, ids in zip(scores[scores > 0], tokens, strict=True)
                    if len(ids) == 1)  # fmt: skip
    return [(ids,) for _, ids in ranked[:WORDS]]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=1)
def _encyclopedia() -> Counter[str]:
    splits = load_task("wiki", {}).splits.values()
    texts = (example.answers[0] for part in splits for example in part)
    return Counter(word for text in texts for word in _words(text))


def _measure(
    run: TrainedModel, base: BaseModel, step: int, name: str, words: list[tuple[int, ...]]
) -> pd.DataFrame:
    space, sample = neighborhoods(run, base, step, "cosine")
    close = _closeness(space, words)
    observed = _mean(close, sample.now)  # (2, n)
    nulls = {null: _mean(close, sample.nulls[null]) for null in _NULLS if null in sample.nulls}
    p = {null: p_values(observed, values) for null, values in nulls.items()}
    q = benjamini_hochberg(np.max([*p.values()], axis=0))
    vocab = vocabulary(base)
    frame = pd.DataFrame(
        {
            "position": trained_vectors(run, base, step).positions,
            "q": q,
            "closeness": observed[0],
            "context_closeness": observed[1],
            "start_closeness": None if sample.start is None else _mean(close, sample.start)[0],
            **{f"p_{null}": values for null, values in p.items()},
            **{f"mean_{null}": values[0].mean(axis=1) + 0 * q for null, values in nulls.items()},
            "nearest_words": [
                [vocab.tokens[token] for token in ids[ids >= 0]] for ids in sample.now
            ],
        }
    )
    task_words = [vocab.tokens[token] for ids in words[:10] for token in ids]
    rows = [*frame.to_dict("records"), _whole(observed, nulls)]
    return pd.DataFrame([row | {"task_words": task_words} for row in rows]).assign(
        step=step,
        words=name,
        related=lambda rows: rows["q"] <= LEVEL,
        n_words=len(words),
    )


def _whole(observed: NDArray, nulls: dict[str, NDArray]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mean = observed.mean(axis=1, keepdims=True)
    p = {
        null: p_values(mean, prompt_means(values, observed.shape[1], rng))[0]
        for null, values in nulls.items()
    }
    return {
        "q": max(p.values()),
        "closeness": mean[0, 0],
        "context_closeness": mean[1, 0],
        **{f"p_{null}": value for null, value in p.items()},
        **{f"mean_{null}": values[0].mean() for null, values in nulls.items()},
    }


def _closeness(space: NeighborhoodSpace, words: list[tuple[int, ...]]) -> list[NDArray]:
    """Compute every token's highest cosine to a word of the set, (V,), in both spaces."""
    closeness = []
    for rows in (space.rows, space.states):
        targets = np.stack([rows[list(ids)].mean(axis=0) for ids in words])  # (words, d)
        targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
        closeness.append((rows @ targets.T).max(axis=1))
    return closeness


def _mean(closeness: list[NDArray], neighborhoods: Ids) -> NDArray:
    """Average the closeness over each neighborhood's words, shape (2, ...)."""
    present = neighborhoods >= 0
    return np.stack([(one[neighborhoods] * present).sum(-1) / present.sum(-1) for one in closeness])

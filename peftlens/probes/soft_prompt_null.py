"""Null tests of a trained vector's neighbors against initialization and chance, with a verdict.

The tightness of the neighborhood, in the space of the vectors and in the middle of the model, is
compared with B = 1,000 draws of each null: random tokens (a straw man: neighbors of anything are
close together), random directions of the vector's length, random steps from the vector's
initialization of the length of the actual step, vectors of untrained prompts, and real tokens.
Against random steps, tightness is weighted by the share of words that are new to the neighborhood:
an unchanged neighborhood gains nothing. Random directions and random steps decide;
p = (1 + #{null >= observed}) / (1 + B), the larger p of both spaces counts, and the false-discovery
rate is controlled at 5 % over the vectors of a prompt.
Source of the claim: Lester et al. 2021, arXiv:2104.08691, section 7 (without a statistic).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model import BaseModel
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import Metric
from peftlens.vocab.null_tests import neighborhoods, p_values, prompt_means, verdicts
from peftlens.vocab.trained_vectors import trained_vectors

REQUIRES = frozenset({"token_vectors"})
VERSION = 2
TESTED: tuple[Metric, ...] = ("cosine", "centered")
_NULLS = ("random_tokens", "random_directions", "steps", "untrained", "real_tokens")
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "position of the vector; missing in the row of the whole prompt"),
    Column("metric", "similarity metric: cosine decides, centered is for comparison"),
    Column("verdict", "readable, unchanged from initialization, or not distinguishable from noise"),
    Column("q", "p against directions and steps, corrected over the prompt's vectors", "1"),
    Column(
        "nearest_unchanged",
        "1 if the nearest word is unchanged; for a prompt, the mean of its vectors",
        "1",
    ),
    Column("new_words", "share of the five nearest words that are new since initialization", "1"),
    Column(
        "tightness", "mean cosine between the five nearest words, in the space of the vectors", "1"
    ),
    Column(
        "context_tightness",
        "mean cosine between their hidden states in the middle of the model",
        "1",
    ),
    *(
        column
        for null in _NULLS
        for column in (
            Column(f"p_{null}", f"p against {null.replace('_', ' ')}, larger of both spaces", "1"),
            Column(f"mean_{null}", f"mean tightness of {null.replace('_', ' ')}", "1"),
        )
    ),
    Column("readable", "share of readable vectors of the prompt", "1"),
    Column("draws", "B, number of draws of each null"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step, metric and vector, and one per prompt."""
    base = context.base_model(run)
    frames = [_measure(run, base, step, metric) for step in run.steps for metric in TESTED]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _measure(run: TrainedModel, base: BaseModel, step: int, metric: Metric) -> pd.DataFrame:
    space, sample = neighborhoods(run, base, step, metric)
    observed = space.tightness(sample.now)  # (2, n)
    nulls = {name: space.tightness(ids) for name, ids in sample.nulls.items()}  # (2, n or 1, B)
    p = {name: p_values(observed, null) for name, null in nulls.items()}
    unchanged = new = gained = None
    if sample.start is not None:
        unchanged = space.family[sample.now[:, 0]] == space.family[sample.start[:, 0]]
        new = space.new_words(sample.now, sample.start)
        gained = (
            space.gained(sample.now, sample.start),
            space.gained(sample.nulls["steps"], sample.start),
        )
        p["steps"] = p_values(*gained)
    words, q = verdicts(p["random_directions"], p.get("steps"), unchanged)
    frame = pd.DataFrame(
        {
            "position": trained_vectors(run, base, step).positions,
            "verdict": words,
            "q": q,
            "nearest_unchanged": None if unchanged is None else unchanged.astype(float),
            "new_words": new,
            "tightness": observed[0],
            "context_tightness": observed[1],
            **{f"p_{name}": values for name, values in p.items()},
            **{
                f"mean_{name}": null[0].mean(axis=1) + 0 * observed[0]
                for name, null in nulls.items()
            },
        }
    )
    whole = _whole(observed, nulls, gained, unchanged)
    whole["readable"] = (frame["verdict"] == "readable").mean()
    rows = [*frame.to_dict("records"), whole]
    draws = sample.nulls["random_directions"].shape[1]
    return pd.DataFrame(rows).assign(step=step, metric=metric, draws=draws)


def _whole(
    observed: NDArray,
    nulls: dict[str, NDArray],
    gained: tuple[NDArray, NDArray] | None,
    unchanged: NDArray | None,
) -> dict[str, Any]:
    """Test the prompt as a whole: its mean tightness, and the majority of nearest words."""
    mean = np.nanmean(observed, axis=1, keepdims=True)  # (2, 1)
    means = {name: _mean(null, observed.shape[1]) for name, null in nulls.items()}
    p = {name: p_values(mean, null) for name, null in means.items()}
    most = None
    if gained is not None and unchanged is not None:
        now, steps = gained
        p["steps"] = p_values(np.nanmean(now, axis=1, keepdims=True), _mean(steps, now.shape[1]))
        most = np.array([unchanged.mean() >= 0.5])
    (word,), q = verdicts(p["random_directions"], p.get("steps"), most)
    return {
        "verdict": word,
        "q": q[0],
        "nearest_unchanged": None if unchanged is None else unchanged.mean(),
        "tightness": mean[0, 0],
        "context_tightness": mean[1, 0],
        **{f"p_{name}": values[0] for name, values in p.items()},
        **{f"mean_{name}": null[0].mean() for name, null in means.items()},
    }


def _mean(null: NDArray, n: int) -> NDArray:
    return prompt_means(null, n, np.random.default_rng(0))

"""Whether a trained vector's neighbors are more than its start and more than chance: the verdict.

Tightness of the neighborhood, in the space of the neighbors and in the middle of the model, is
held against B = 1,000 draws each of: random tokens (a straw man: neighbors of anything are close
together), random directions with the vector's length, random steps from the vector's start as long
as the step that training took, vectors of untrained prompts, and real tokens. Against random steps,
tightness is weighed by the share of words that the start's neighborhood has not: what stays where
it was gains nothing. Random directions and random steps decide; p = (1 + #{null >= observed}) /
(1 + B), the larger of both spaces' p counts, and the false-discovery rate is held at 5 % over the
vectors of a prompt.
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
    Column("step", "training steps so far"),
    Column("position", "which vector; missing in the row of the whole prompt"),
    Column("metric", "how neighbors were found: cosine decides, centered is beside it"),
    Column("verdict", "readable, unchanged from initialization, or not distinguishable from noise"),
    Column("q", "of readable: p against directions and steps, corrected over the prompt", "1"),
    Column(
        "nearest_unchanged",
        "nearest word is the start's; of a prompt, the share of its vectors",
        "1",
    ),
    Column("new_words", "share of the five nearest words that are not the start's", "1"),
    Column("tightness", "mean cosine between the five nearest words, where they lie", "1"),
    Column("context_tightness", "the same between their states in the middle of the model", "1"),
    *(
        column
        for null in _NULLS
        for column in (
            Column(f"p_{null}", f"p against {null.replace('_', ' ')}, larger of both spaces", "1"),
            Column(f"mean_{null}", f"mean tightness of {null.replace('_', ' ')}", "1"),
        )
    ),
    Column("readable", "share of the prompt's vectors that are readable", "1"),
    Column("draws", "B, of each null"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row per step, metric and vector, and one for the whole prompt."""
    base = context.base_model(run)
    frames = [_measure(run, base, step, metric) for step in run.steps for metric in TESTED]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _measure(run: TrainedModel, base: BaseModel, step: int, metric: Metric) -> pd.DataFrame:
    space, found = neighborhoods(run, base, step, metric)
    observed = space.tightness(found.now)  # (2, n)
    nulls = {name: space.tightness(ids) for name, ids in found.nulls.items()}  # (2, n or 1, B)
    p = {name: p_values(observed, null) for name, null in nulls.items()}
    kept = new = gained = None
    if found.start is not None:
        kept = space.family[found.now[:, 0]] == space.family[found.start[:, 0]]
        new = space.new_words(found.now, found.start)
        gained = (
            space.gained(found.now, found.start),
            space.gained(found.nulls["steps"], found.start),
        )
        p["steps"] = p_values(*gained)
    words, q = verdicts(p["random_directions"], p.get("steps"), kept)
    frame = pd.DataFrame(
        {
            "position": trained_vectors(run, base, step).positions,
            "verdict": words,
            "q": q,
            "nearest_unchanged": None if kept is None else kept.astype(float),
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
    whole = _whole(observed, nulls, gained, kept)
    whole["readable"] = (frame["verdict"] == "readable").mean()
    rows = [*frame.to_dict("records"), whole]
    draws = found.nulls["random_directions"].shape[1]
    return pd.DataFrame(rows).assign(step=step, metric=metric, draws=draws)


def _whole(
    observed: NDArray,
    nulls: dict[str, NDArray],
    gained: tuple[NDArray, NDArray] | None,
    kept: NDArray | None,
) -> dict[str, Any]:
    """The prompt as one: its mean tightness, and whether most of its vectors kept their word."""
    mean = np.nanmean(observed, axis=1, keepdims=True)  # (2, 1)
    means = {name: _mean(null, observed.shape[1]) for name, null in nulls.items()}
    p = {name: p_values(mean, null) for name, null in means.items()}
    most = None
    if gained is not None and kept is not None:
        now, steps = gained
        p["steps"] = p_values(np.nanmean(now, axis=1, keepdims=True), _mean(steps, now.shape[1]))
        most = np.array([kept.mean() >= 0.5])
    (word,), q = verdicts(p["random_directions"], p.get("steps"), most)
    return {
        "verdict": word,
        "q": q[0],
        "nearest_unchanged": None if kept is None else kept.mean(),
        "tightness": mean[0, 0],
        "context_tightness": mean[1, 0],
        **{f"p_{name}": values[0] for name, values in p.items()},
        **{f"mean_{name}": null[0].mean() for name, null in means.items()},
    }


def _mean(null: NDArray, n: int) -> NDArray:
    return prompt_means(null, n, np.random.default_rng(0))

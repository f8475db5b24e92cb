"""Null tests of a trained vector's neighbors against initialization and chance, with a verdict.

Two things are read: the vector p, and its displacement p − p₀ from the start, which is what
training did. A neighborhood is tight if its five nearest words are close together, in the space of
the vectors and in the middle of the model: the mean of both, each standardized by its null.
*Readable*: the nearest word is new, the neighborhood is tight against random directions, and it
gains more (tightness times the share of new words) than after 1,000 random steps of the same length
from p₀, which is the test. *Displacement readable*: the words that the displacement points to are
closer together than those of 20,000 random directions. Both tests of all vectors are one family
with a false-discovery rate of 5 %; p = (1 + #{null >= observed}) / (1 + B). A prompt's verdict is
that of most of its vectors; its p-values take the vectors as independent, and decide nothing, as
the other nulls: random tokens (a straw man), untrained prompts and real tokens. Each prompt's row
has the power: how close to the direction of a common word displacements must be to be found.
Source of the claim: Lester et al. 2021, arXiv:2104.08691, section 7 (without a statistic).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model import BaseModel
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.displacements import top_components
from peftlens.vocab.nearest_neighbors import Metric
from peftlens.vocab.null_tests import (
    NeighborhoodSample,
    NeighborhoodSpace,
    neighborhoods,
    p_values,
    prompt_means,
)
from peftlens.vocab.planted import COSINES, power
from peftlens.vocab.trained_vectors import TrainedVectors, trained_vectors
from peftlens.vocab.verdicts import majority, verdicts
from peftlens.vocab.vocabulary import vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 3
TESTED: tuple[Metric, ...] = ("cosine", "centered")
Look = tuple[NeighborhoodSpace, NeighborhoodSample]
_NULLS = ("random_tokens", "random_directions", "steps", "untrained", "real_tokens")
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "position of the vector; missing in the row of the whole prompt"),
    Column("kind", "kind of vectors: soft prompt, prefix, or embedding rows"),
    Column("metric", "similarity metric of the vector's own neighbors: cosine decides"),
    Column(
        "verdict",
        "readable, displacement readable, start kept, not distinguishable from noise, or tight, "
        "start unknown; of a prompt: of most of its vectors",
    ),
    Column(
        "q",
        "smaller p of both tests, corrected over those of all vectors; for a prompt, the q that "
        "most of its vectors reach",
        "1",
    ),
    Column("moved", "||p − p0|| / ||p0||, p0 the vector before training; of a prompt: mean", "1"),
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
    Column(
        "displacement_words",
        "list of the five words that the displacement points to, relative to the table's mean",
    ),
    Column("displacement_tightness", "mean cosine between them, relative to the mean", "1"),
    Column("displacement_context_tightness", "mean cosine in the middle of the model", "1"),
    Column("p_displacement", "p of the displacement against random directions", "1"),
    Column("p_displacement_plain", "the same by cosine to rows that include their mean", "1"),
    *(
        column
        for null in _NULLS
        for column in (
            Column(f"p_{null}", f"p against {null.replace('_', ' ')}", "1"),
            Column(f"mean_{null}", f"mean tightness of {null.replace('_', ' ')}", "1"),
        )
    ),
    Column("readable", "share of readable vectors of the prompt", "1"),
    Column("displacement_readable", "share of vectors with the verdict displacement readable", "1"),
    Column("draws", "B, number of draws of each null; of random directions 20 times as many"),
    *(
        Column(
            f"power_at_{cosine}",
            f"share found of displacements (of vectors, if the start is unknown) with a cosine of "
            f"{cosine} to a common word, if most vectors of a prompt have it",
            "1",
        )
        for cosine in COSINES
    ),
    Column("detectable_cosine", "least of these cosines with a power of 0.8 from it on", "1"),
    Column("power", "the same as a sentence"),
    Column(
        "top_energy",
        "share of the displacement's energy in the 50 strongest components of the table, mean over "
        "the vectors",
        "1",
    ),
    Column("top_energy_isotropic", "share expected of random directions", "1"),
    Column("top_energy_tokens", "share of a token's energy relative to the mean, on average", "1"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step, metric and vector, and one per prompt."""
    base = context.base_model(run)
    frame = pd.concat([_measure(run, base, step) for step in run.steps], ignore_index=True)
    frame = frame.reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _measure(run: TrainedModel, base: BaseModel, step: int) -> pd.DataFrame:
    vectors = trained_vectors(run, base, step)
    looks: dict[Metric, Look] = {
        metric: neighborhoods(run, base, step, metric) for metric in TESTED
    }
    moved, prompt_moved = _displacements(vectors, base, looks)
    frames = []
    for metric in TESTED:
        space, sample = looks[metric]
        each, prompt = _own(space, sample, moved.get("p_displacement"))
        prompt |= prompt_moved | _power(vectors, base, looks, metric)
        rows = pd.DataFrame({"position": vectors.positions} | moved | each)
        draws = sample.nulls["random_tokens"].shape[1]
        rows = pd.DataFrame([*rows.to_dict("records"), prompt])
        frames.append(rows.assign(metric=metric, draws=draws))
    return pd.concat(frames).assign(step=step, kind=vectors.kind)


def _displacements(
    vectors: TrainedVectors,
    base: BaseModel,
    looks: Mapping[Metric, Look],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Test the displacements; returns the columns of the vectors, and the cells of the prompt."""
    space, sample = looks["centered"]
    if vectors.start is None or sample.displacement is None:
        return {}, {}
    displacement = vectors.now - vectors.start
    lengths = (displacement.norm(dim=1) / vectors.start.norm(dim=1)).cpu().numpy()
    tightness = space.tightness(sample.displacement)  # (2, n)
    null = space.tightness(sample.nulls["random_directions"])  # (2, 1, B)
    plain, other = looks["cosine"]
    p_plain = None if other.displacement is None else p_values(
        plain.tightness(other.displacement), plain.tightness(other.nulls["random_directions"])
    )  # fmt: skip
    words = vocabulary(base).tokens
    top = top_components(base, vectors)
    cells: dict[str, Any] = {
        "moved": lengths.mean(),
        "top_energy_isotropic": top.isotropic,
        "top_energy_tokens": top.tokens,
    }
    if (there := lengths > 0).any():
        mean = tightness[:, there].mean(axis=1, keepdims=True)
        cells |= {
            "displacement_tightness": mean[0, 0],
            "displacement_context_tightness": mean[1, 0],
            "p_displacement": p_values(mean, _mean(null, there.sum()))[0],
            "top_energy": np.nanmean(top.energy(displacement)),
        }
    return {
        "moved": lengths,
        "displacement_words": [[words[i] for i in ids if i >= 0] for ids in sample.displacement],
        "displacement_tightness": tightness[0],
        "displacement_context_tightness": tightness[1],
        "p_displacement": p_values(tightness, null),
        "p_displacement_plain": p_plain,
    }, cells


def _own(
    space: NeighborhoodSpace, sample: NeighborhoodSample, p_displacement: NDArray | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Test the vectors themselves; returns the columns of the vectors, and the prompt's cells."""
    observed = space.tightness(sample.now)  # (2, n)
    nulls = {name: space.tightness(ids) for name, ids in sample.nulls.items()}  # (2, n or 1, B)
    p = {name: p_values(observed, null) for name, null in nulls.items()}
    mean = observed.mean(axis=1, keepdims=True)  # (2, 1)
    means = {name: _mean(null, observed.shape[1]) for name, null in nulls.items()}
    prompt_p = {name: p_values(mean, null)[0] for name, null in means.items()}
    kept = new = None
    if sample.start is not None:
        kept = space.family[sample.now[:, 0]] == space.family[sample.start[:, 0]]
        new = space.new_words(sample.now, sample.start)
        gained = space.gained(sample.now, sample.start)
        steps = space.gained(sample.nulls["steps"], sample.start)
        p["steps"] = p_values(gained, steps)
        whole = gained.mean(axis=1, keepdims=True)
        prompt_p["steps"] = p_values(whole, _mean(steps, len(kept)))[0]
    words, q = verdicts(p["random_directions"], p.get("steps"), p_displacement, kept)
    unchanged = None if kept is None else kept.astype(float)
    each = {
        "verdict": words,
        "q": q,
        "nearest_unchanged": unchanged,
        "new_words": new,
        "tightness": observed[0],
        "context_tightness": observed[1],
        **{f"p_{name}": values for name, values in p.items()},
        **{f"mean_{name}": null[0].mean(axis=1) + 0 * q for name, null in nulls.items()},
    }
    word, prompt_q = majority(words, q)
    prompt = {
        "verdict": word,
        "q": prompt_q,
        "nearest_unchanged": None if unchanged is None else unchanged.mean(),
        "new_words": None if new is None else new.mean(),
        "tightness": mean[0, 0],
        "context_tightness": mean[1, 0],
        **{f"p_{name}": value for name, value in prompt_p.items()},
        **{f"mean_{name}": null[0].mean() for name, null in means.items()},
        "readable": np.mean([word == "readable" for word in words]),
        "displacement_readable": np.mean([word == "displacement readable" for word in words]),
    }
    return each, prompt


def _power(
    vectors: TrainedVectors,
    base: BaseModel,
    looks: Mapping[Metric, Look],
    metric: Metric,
) -> dict[str, Any]:
    """Return the cells of the power: of displacements or, if the start is unknown, of vectors."""
    known = vectors.start is not None
    space, sample = looks["centered" if known else metric]
    null = sample.nulls["random_directions"]
    found = power(base, vectors.space, space, null, len(vectors.now), known_start=known)
    return {
        **{f"power_at_{cosine}": share for cosine, share in found.at.items()},
        "detectable_cosine": found.detectable,
        "power": str(found),
    }


def _mean(null: NDArray, n: int) -> NDArray:
    return prompt_means(null, n, np.random.default_rng(0))

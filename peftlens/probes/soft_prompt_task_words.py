"""Null test: are a prompt's nearest words closer to its task's words than to other tasks' words?

Read is the displacement from the start, which is what training did, or, where the start is unknown,
the vector itself. A neighborhood's closeness to a task is the mean over its five nearest words of
the highest cosine to a word of the task, in the space of the vectors and in the middle of the
model. The statistic is one contrast: the closeness to the own task's words (labels, and words
typical of its training text) minus the mean closeness to those of the other built-in tasks, which
cancels what lies close to any words. Its null turns the whole prompt by random rotations, which
keep the angles between its vectors: vectors of one prompt are trained by the same gradients and
not independent. Each prompt's row has the power: the share found of prompts in which most vectors
point to words of the task. The rows of the other tasks serve the claim's test over several tasks.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.null_tests import (
    LEVEL,
    Ids,
    NeighborhoodSpace,
    neighborhoods,
    p_values,
)
from peftlens.vocab.planted import COSINES, Power, toward
from peftlens.vocab.task_words import TaskCloseness, Words, contrast, task_words, word_vectors
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 3
MEASURED_WITH = "soft_prompt_null"
ROTATIONS = (100, 400)  # least and largest number
_TURNED = 8000  # vectors of all rotations together, which take five seconds on two cores
_PLANTED = 60  # directions for each cosine
_PROMPTS = 200  # prompts composed of them
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "position of the vector; missing in the rows of the whole prompt"),
    Column("kind", "kind of vectors: soft prompt, prefix, or embedding rows"),
    Column("shuffled_labels", "true if the run was trained on shuffled labels, as a control"),
    Column("reading", "what is read: displacement, or vector if the start is unknown"),
    Column("task", "task whose words are meant"),
    Column("own", "true in the rows of the run's own task"),
    Column("related", "true if q is at most 0.05"),
    Column("q", "p corrected over the prompt's vectors; of a prompt: p", "1"),
    Column("p", "p of the contrast against random rotations of the prompt", "1"),
    Column("contrast", "closeness to the own task's words minus the mean of other tasks'", "1"),
    Column("context_contrast", "contrast in the middle of the model", "1"),
    Column("closeness", "mean over the nearest words of the highest cosine to a task word", "1"),
    Column("context_closeness", "closeness in the middle of the model", "1"),
    Column("standardized", "mean of both, in standard deviations of the rotations", "1"),
    Column("nearest_words", "list of the five nearest words"),
    Column("task_words", "list of the ten first words of the task: its labels, then typical ones"),
    Column("n_words", "number of words of the task"),
    Column("rotations", "number of random rotations"),
    *(
        Column(
            f"power_at_{cosine}",
            f"share of prompts found in which most vectors have a cosine of {cosine} to a word of "
            "the task",
            "1",
        )
        for cosine in COSINES
    ),
    Column("detectable_cosine", "least of these cosines with a power of 0.8 from it on", "1"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step and vector, and one per step and task for the whole prompt."""
    base = context.base_model(run)
    words = task_words(task_of(run), base)
    rows = [row | {"step": step} for step in run.steps for row in _rows(run, base, step, words)]
    if not rows:
        raise NotApplicable("no vector has moved")
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _rows(
    run: TrainedModel, base: BaseModel, step: int, words: Mapping[str, Words]
) -> Iterator[dict[str, Any]]:
    vectors = trained_vectors(run, base, step)
    known = vectors.start is not None
    read = vectors.now if vectors.start is None else vectors.now - vectors.start  # (n, d)
    there = (read.norm(dim=1) > 0).cpu().numpy()
    if not there.any():
        return
    space, sample = neighborhoods(run, base, step, "centered" if known else "cosine")
    found = (sample.now if sample.displacement is None else sample.displacement)[there]
    close = base.derived(
        "task closeness",
        lambda: TaskCloseness.of(space, words),
        key=(vectors.space, space.metric, task_of(run).sha256),
        most=2,
    )
    rng = np.random.default_rng([step, crc32(run.id.encode())])
    turned = close.of_neighborhoods(_turned(space, read[torch.from_numpy(there)], rng))
    observed = close.of_neighborhoods(found)  # (tasks, 2, n)
    common = {
        "kind": vectors.kind,
        "shuffled_labels": run.config.training.shuffle_labels,
        "reading": "displacement" if known else "vector",
        "rotations": turned.shape[-1],
    }
    positions = np.array(vectors.positions)[there].tolist()
    for row in _of_vectors(observed, turned, base, found, positions):
        yield common | {"task": close.task, "own": True} | row
    power = _power(space, close, sample.nulls["random_directions"], turned)
    yield from (common | row for row in _of_prompt(observed, turned, close, base, power))


def _turned(space: NeighborhoodSpace, read: torch.Tensor, rng: np.random.Generator) -> Ids:
    """Find the neighborhoods (n, B, 5) of vectors (n, d) after random rotations.

    A random rotation of n vectors depends on their inner products only: with K = L Lᵀ these are
    the rows of L Q, for n random orthonormal rows Q.
    """
    unit = torch.nn.functional.normalize(read.double()).cpu()
    n, d = unit.shape
    # vectors in fewer than n dimensions have no Cholesky factor, but this one
    values, axes = torch.linalg.eigh(unit @ unit.mT)
    factor = axes * values.clamp(min=0).sqrt()  # (n, n)
    if n > d:
        factor = factor[:, -d:]
    draws = int(np.clip(_TURNED // n, *ROTATIONS))
    noise = torch.from_numpy(rng.standard_normal((draws, d, factor.shape[1])))
    axes, triangle = torch.linalg.qr(noise)
    # uniform only with these signs: Mezzadri 2007, arXiv:math-ph/0609050, section 5
    signs = torch.diagonal(triangle, dim1=-2, dim2=-1).sign()  # (B, n)
    frames = (axes * signs[:, None]).mT  # (B, n, d)
    turned = (factor @ frames).flatten(0, 1).float().to(space.origin.device)  # (B n, d)
    return space.around(turned + space.origin).reshape(draws, n, -1).swapaxes(0, 1)


def _of_vectors(
    observed: NDArray, turned: NDArray, base: BaseModel, found: Ids, positions: list[int]
) -> Iterator[dict[str, Any]]:
    p = p_values(contrast(observed), contrast(turned))
    q = benjamini_hochberg(p)
    names = vocabulary(base).tokens
    for at, position in enumerate(positions):
        yield {
            "position": position,
            "related": q[at] <= LEVEL,
            "q": q[at],
            "p": p[at],
            **_closeness(observed[..., at]),
            "standardized": _standardized(observed[0, :, at], turned[0, :, at]),
            "nearest_words": [names[i] for i in found[at] if i >= 0],
        }


def _of_prompt(
    observed: NDArray,
    turned: NDArray,
    close: TaskCloseness,
    base: BaseModel,
    power: Power,
) -> Iterator[dict[str, Any]]:
    mean, null = observed.mean(axis=-1), turned.mean(axis=-2)  # (tasks, 2), (tasks, 2, B)
    (p,) = p_values(contrast(mean)[:, None], contrast(null)[:, None])
    names = vocabulary(base).tokens
    for at, (task, words) in enumerate(close.words.items()):
        row = {
            "task": task,
            "own": at == 0,
            **_closeness(mean if at == 0 else mean[at : at + 1]),
            "standardized": _standardized(mean[at], null[at]),
            "task_words": [names[i] for ids in words[:10] for i in ids],
            "n_words": len(words),
        }
        if at == 0:
            row |= {"related": p <= LEVEL, "q": p, "p": p}
            row |= {f"power_at_{cosine}": share for cosine, share in power.at.items()}
            row |= {"detectable_cosine": power.detectable}
        yield row


def _closeness(observed: NDArray) -> dict[str, float]:
    """Return the cells of the first task, and of its contrast if there are others."""
    own, context = observed[0]
    cells = {"closeness": own, "context_closeness": context}
    if len(observed) > 1:
        difference = contrast(observed)
        cells |= {"contrast": difference[0], "context_contrast": difference[1]}
    return cells


def _standardized(observed: NDArray, null: NDArray) -> float:
    """Average both spaces' deviations from the null's mean: (2,) and (2, B)."""
    spread = null.std(axis=-1)
    return float(((observed - null.mean(axis=-1)) / np.where(spread > 0, spread, 1)).mean())


def _power(
    space: NeighborhoodSpace,
    close: TaskCloseness,
    random_directions: Ids,
    turned: NDArray,
) -> Power:
    """Compute the power against the null of this prompt, whose vectors may be alike."""
    rng = np.random.default_rng(0)
    n, null = turned.shape[2], contrast(turned).mean(axis=1, keepdims=True)  # (2, 1, B)
    planted = n // 2 + 1
    targets = word_vectors(space.table, close.words[close.task]) - space.origin
    nowhere = contrast(close.of_neighborhoods(random_directions[0]))  # (2, draws)
    at = {}
    for cosine in COSINES:
        chosen = targets[torch.from_numpy(rng.integers(len(targets), size=_PLANTED))]
        ids = space.around(toward(chosen, cosine, rng) + space.origin)
        there = contrast(close.of_neighborhoods(ids))  # (2, planted directions)
        prompts = np.concatenate(
            [
                there[:, rng.integers(_PLANTED, size=(planted, _PROMPTS))],
                nowhere[:, rng.integers(nowhere.shape[1], size=(n - planted, _PROMPTS))],
            ],
            axis=1,
        ).mean(axis=1)  # (2, prompts)
        at[cosine] = float((p_values(prompts, null) <= LEVEL).mean())
    return Power(at)

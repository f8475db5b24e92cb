"""Agreement of two runs on the displacements of their vectors, p − p₀, at equal positions.

Two seeds that move a vector the same way moved it by the data and not by chance, even where no word
expresses the direction. Positions with equal initial vectors (to the last bit) and with different
ones are compared separately. Chance is a random rotation of one run's displacements: a mean cosine
of 0, with a standard deviation of 1 / √(d n) if they are orthogonal to each other, and more if not.
Pairs with a run of another task, or on shuffled labels, show how much of the agreement is the
training's and not the task's.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pandas as pd
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.displacements import agreement
from peftlens.vocab.trained_vectors import TrainedVectors, trained_vectors

REQUIRES = frozenset({"token_vectors"})
VERSION = 2
OPTIONAL = True  # only for several runs with trained vectors
COLUMNS = (
    Column("configuration", "configuration of the first run"),
    Column("run", "id of the first run"),
    Column("step", "number of optimizer steps of the first run", "steps"),
    Column("other_configuration", "configuration of the second run"),
    Column("other_run", "id of the second run"),
    Column("other_step", "number of optimizer steps of the second run", "steps"),
    Column("kind", "kind of vectors: soft prompt, prefix, or embedding rows"),
    Column("starts", "initial vectors of the compared positions: equal or different"),
    Column("same_task", "true if both runs have the same task with the same options"),
    Column("shuffled_labels", "true if a run was trained on shuffled labels, as a control"),
    Column("same_seed", "true if both runs have the same seed"),
    Column("cosine", "mean cosine of the displacements at equal positions", "1"),
    Column("random_sd", "standard deviation of this mean under random rotations, about 0", "1"),
    Column("deviations", "cosine in units of this standard deviation", "1"),
    Column("elsewhere", "mean cosine of the displacements at unequal positions", "1"),
    Column("n_vectors", "number of compared positions; those that have not moved are left out"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="cosine",
        title="Cosine of two runs' displacements at equal positions",
        each="starts",
    ),
)


def compare(context: RunContext, runs: Mapping[TrainedModel, str]) -> pd.DataFrame:
    """Return one row per pair of runs and kind of start; none without pairs.

    Args:
        context: source of the runs' base models.
        runs: runs, mapped to the names of their configurations.
    """
    vectors = {run: found for run in runs if (found := _vectors(context, run)) is not None}
    rows = []
    for one, other in combinations(vectors, 2):
        same_base = one.config.base_model == other.config.base_model
        if same_base and _alike(vectors[one], vectors[other]):
            pair = _pair(one, other, runs) | {"kind": vectors[one].kind}
            rows += (pair | row for row in _rows(vectors[one], vectors[other]))
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _vectors(context: RunContext, run: TrainedModel) -> TrainedVectors | None:
    """Return the vectors after the last step, if their start is known."""
    try:
        vectors = trained_vectors(run, context.base_model(run), run.steps[-1])
    except NotApplicable:
        return None
    return None if vectors.start is None else vectors


def _alike(one: TrainedVectors, other: TrainedVectors) -> bool:
    """Whether two runs have vectors at the same positions of one space."""
    places = [(found.kind, found.positions, found.now.shape) for found in (one, other)]
    return places[0] == places[1]


def _pair(one: TrainedModel, other: TrainedModel, runs: Mapping[TrainedModel, str]) -> dict:
    tasks = [(run.config.task, run.config.task_config) for run in (one, other)]
    return {
        "configuration": runs[one],
        "run": one.id,
        "step": one.steps[-1],
        "other_configuration": runs[other],
        "other_run": other.id,
        "other_step": other.steps[-1],
        "same_task": tasks[0] == tasks[1],
        "shuffled_labels": any(run.config.training.shuffle_labels for run in (one, other)),
        "same_seed": one.config.seed == other.config.seed,
    }


def _rows(one: TrainedVectors, other: TrainedVectors) -> Iterator[dict[str, Any]]:
    if one.start is None or other.start is None:
        return
    moves = one.now - one.start, other.now - other.start
    moved = (moves[0].norm(dim=1) > 0) & (moves[1].norm(dim=1) > 0)
    equal = (one.start == other.start).all(dim=1)
    for starts, chosen in (("equal", equal), ("different", ~equal)):
        places = torch.nonzero(chosen & moved).flatten()
        if len(places):
            found = agreement(moves[0][places], moves[1][places])
            yield {
                "starts": starts,
                "cosine": found.cosine,
                "random_sd": found.random_sd,
                "deviations": found.cosine / found.random_sd,
                "elsewhere": found.elsewhere,
                "n_vectors": len(places),
            }

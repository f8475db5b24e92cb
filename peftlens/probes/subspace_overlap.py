"""Do runs that differ in one thing alone change a weight along the same directions?

φ of the strongest singular directions of two updates, on the side of the weight's outputs and of
its inputs, beside what random directions would give: max(i, j) / d, which is large for small models
and must be read beside φ. Compared are runs that differ in the seed, or in the rank (and alpha),
and a run's saved steps with its end. Source: Hu et al. 2021, arXiv:2106.09685, section 7.2 and
appendix G; they compare ranks 8 and 64, and two seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.delta_weights import delta_weights
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import principal_angles, random_similarity, subspace_similarity
from peftlens.results.table import Chart, Column
from peftlens.runs.run import flat
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # it holds every run's directions side by side


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: how many of the strongest directions of each are compared; those that both have.
    """

    directions: tuple[int, ...] = (1, 2, 4, 8)


COLUMNS = (
    Column("between", "seeds, ranks, or steps of one run"),
    Column("configuration", "of the first: method and the hyperparameters that the study set"),
    Column("run", "id of the first run"),
    Column("step", "optimizer steps that it had taken", "steps"),
    Column("other_configuration", "of the second"),
    Column("other_run", "id of the second run"),
    Column("other_step", "optimizer steps that it had taken", "steps"),
    Column("role", "the last part of the weights' names, such as q_proj"),
    Column("side", "directions of the weight's outputs, or of its inputs"),
    Column("directions", "how many of the strongest ones were compared", "1"),
    Column("similarity", "φ, mean over the weights of this role that both changed", "1"),
    Column("lowest", "the smallest φ of these weights", "1"),
    Column("highest", "the largest", "1"),
    Column("random", "φ of random directions", "1"),
    Column("smallest_angle", "between the subspaces, mean over the weights", "degrees"),
    Column("largest_angle", "between the subspaces, mean over the weights", "degrees"),
    Column("n_weights", "weights of this role that both changed", "1"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="similarity",
        title="Overlap φ of the strongest directions",
        each="between",
    ),
)

# Of one weight: left and right singular vectors, shapes (d_out, k) and (d_in, k).
Sides = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class _State:
    """A run's updates at one of its steps."""

    configuration: str
    run: str
    step: int
    weights: dict[str, Sides]


def compare(context: RunContext, runs: Mapping[TrainedModel, str], config: Config) -> pd.DataFrame:
    """A row for each pair, role, side and number of directions; none where nothing pairs.

    Args:
        context: gives the runs' base models.
        runs: with the names of their configurations.
        config: how many directions.
    """
    most = max(config.directions)
    ends = {run: _state(context, run, name, run.steps[-1], most) for run, name in runs.items()}
    rows = []
    for one, other in combinations(runs, 2):
        if between := _difference(one, other):
            rows += _rows(between, ends[one], ends[other], config)
    for run, name in runs.items():
        for step in run.steps[:-1]:
            rows += _rows("steps", _state(context, run, name, step, most), ends[run], config)
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _difference(one: TrainedModel, other: TrainedModel) -> str | None:
    """What two runs differ in, if it is the seed or the rank alone."""
    a, b = flat(one), flat(other)
    differing = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    same_seed = one.config.seed == other.config.seed
    if not differing and not same_seed:
        return "seeds"
    return "ranks" if same_seed and "rank" in differing and differing <= {"rank", "alpha"} else None


def _state(
    context: RunContext, run: TrainedModel, configuration: str, step: int, most: int
) -> _State:
    weights = {}
    for update in delta_weights(run, context.base_model(run), step):
        u, vt = update.svd.u[:, :most], update.svd.vt[:most]
        weights[update.name] = {"outputs": u.copy(), "inputs": vt.T.copy()}
    return _State(configuration, run.id, step, weights)


def _rows(between: str, one: _State, other: _State, config: Config) -> Iterator[dict[str, Any]]:
    shared: dict[str, list[str]] = {}
    for name in one.weights:
        if name in other.weights:
            shared.setdefault(name.split(".")[-2], []).append(name)
    about = {
        "between": between,
        "configuration": one.configuration,
        "run": one.run,
        "step": one.step,
        "other_configuration": other.configuration,
        "other_run": other.run,
        "other_step": other.step,
    }
    for role, names in shared.items():
        for side in ("outputs", "inputs"):
            pairs = [(one.weights[name][side], other.weights[name][side]) for name in names]
            there = min(min(a.shape[1], b.shape[1]) for a, b in pairs)
            for count in (count for count in config.directions if count <= there):
                found = _measured([(a[:, :count], b[:, :count]) for a, b in pairs])
                yield about | {"role": role, "side": side, "directions": count} | found


def _measured(pairs: list[tuple[NDArray, NDArray]]) -> dict[str, Any]:
    similarity = [subspace_similarity(a, b) for a, b in pairs]
    angles = np.degrees([principal_angles(a, b)[[0, -1]] for a, b in pairs])
    random = [random_similarity(a.shape[1], b.shape[1], len(a)) for a, b in pairs]
    return {
        "similarity": np.mean(similarity),
        "lowest": min(similarity),
        "highest": max(similarity),
        "random": np.mean(random),
        "smallest_angle": angles[:, 0].mean(),
        "largest_angle": angles[:, 1].mean(),
        "n_weights": len(pairs),
    }

"""Overlap of the update's strongest directions between seeds, ranks and steps.

The overlap is φ of the strongest singular directions of two updates, on the side of the weight's
outputs and of its inputs. Random directions have max(i, j) / d, which is large for small models and
necessary for the interpretation of φ. Pairs of runs differ only in the seed, or only in the rank
(and alpha); a run's saved steps are compared with its last one. Source: Hu et al. 2021,
arXiv:2106.09685, section 7.2 and appendix G; they compare ranks 8 and 64, and two seeds.
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
from peftlens.runs.configuration_names import flat
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # it keeps the directions of all runs in memory


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: numbers of strongest directions to compare; numbers above a rank are skipped.
    """

    directions: tuple[int, ...] = (1, 2, 4, 8)


COLUMNS = (
    Column("between", "difference of the pair: seeds, ranks, or steps of one run"),
    Column("configuration", "configuration of the first run"),
    Column("run", "id of the first run"),
    Column("step", "number of optimizer steps of the first run", "steps"),
    Column("other_configuration", "configuration of the second run"),
    Column("other_run", "id of the second run"),
    Column("other_step", "number of optimizer steps of the second run", "steps"),
    Column("role", "last part of the weights' names, such as q_proj"),
    Column("side", "side of the directions: outputs or inputs of the weight"),
    Column("directions", "number of strongest directions", "1"),
    Column("similarity", "φ, mean over the weights of this role changed by both runs", "1"),
    Column("lowest", "smallest φ of these weights", "1"),
    Column("highest", "largest φ of these weights", "1"),
    Column("random", "φ of random directions", "1"),
    Column(
        "smallest_angle", "smallest angle between the subspaces, mean over the weights", "degrees"
    ),
    Column(
        "largest_angle", "largest angle between the subspaces, mean over the weights", "degrees"
    ),
    Column("n_weights", "number of weights of this role changed by both runs", "1"),
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

# left and right singular vectors of one weight, shapes (d_out, k) and (d_in, k)
Sides = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class _State:
    """Strongest directions of a run's updates at a step.

    Attributes:
        configuration: name of the configuration.
        run: id of the run.
        step: number of optimizer steps taken.
        weights: singular vectors per weight name.
    """

    configuration: str
    run: str
    step: int
    weights: dict[str, Sides]


def compare(context: RunContext, runs: Mapping[TrainedModel, str], config: Config) -> pd.DataFrame:
    """Return one row per pair, role, side and number of directions; none without pairs.

    Args:
        context: source of the runs' base models.
        runs: runs, mapped to the names of their configurations.
        config: options of the probe.
    """
    max_directions = max(config.directions)
    ends = {
        run: _state(context, run, name, run.steps[-1], max_directions) for run, name in runs.items()
    }
    rows = []
    for one, other in combinations(runs, 2):
        if between := _difference(one, other):
            rows += _rows(between, ends[one], ends[other], config)
    for run, name in runs.items():
        for step in run.steps[:-1]:
            rows += _rows(
                "steps", _state(context, run, name, step, max_directions), ends[run], config
            )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _difference(one: TrainedModel, other: TrainedModel) -> str | None:
    """Return the only difference of two runs, if it is the seed or the rank."""
    a, b = flat(one), flat(other)
    differing = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    same_seed = one.config.seed == other.config.seed
    if not differing and not same_seed:
        return "seeds"
    return "ranks" if same_seed and "rank" in differing and differing <= {"rank", "alpha"} else None


def _state(
    context: RunContext, run: TrainedModel, configuration: str, step: int, max_directions: int
) -> _State:
    weights = {}
    for update in delta_weights(run, context.base_model(run), step):
        u, vt = update.svd.u[:, :max_directions], update.svd.vt[:max_directions]
        weights[update.name] = {"outputs": u.copy(), "inputs": vt.T.copy()}
    return _State(configuration, run.id, step, weights)


def _rows(between: str, one: _State, other: _State, config: Config) -> Iterator[dict[str, Any]]:
    shared: dict[str, list[str]] = {}
    for name in one.weights:
        if name in other.weights:
            shared.setdefault(name.split(".")[-2], []).append(name)
    pair = {
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
            n_shared = min(min(a.shape[1], b.shape[1]) for a, b in pairs)
            for count in (count for count in config.directions if count <= n_shared):
                overlap = _overlap([(a[:, :count], b[:, :count]) for a, b in pairs])
                yield pair | {"role": role, "side": side, "directions": count} | overlap


def _overlap(pairs: list[tuple[NDArray, NDArray]]) -> dict[str, Any]:
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

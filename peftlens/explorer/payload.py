"""Payload of the explorer's page: what its scripts read, as nested values with typed arrays.

It imports no torch.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftlens.explorer.data import (
    DIRECTION_KINDS,
    KINDS,
    AdapterDirections,
    DirectionPoint,
    ExplorerData,
    NeighborPairs,
    PromptTrajectory,
)
from peftlens.explorer.packing import quantized

_NO_CLUSTER = 65_535
_COSINES = 8191  # levels of a cosine: a rounding below 0.0001


def payload(data: ExplorerData) -> dict[str, Any]:
    """Convert the data to the structure that the page's scripts read; see `packing.packed`."""
    places = np.clip(np.round(data.scaled(data.points)), 0, 65_535).astype(np.uint16)
    return {
        "tokens": list(data.tokens),
        "x": places[:, 0],
        "y": places[:, 1],
        "space": None if data.space is None else _thirds(data.scaled(data.space)),
        "norm": quantized(data.norm),
        "kind": data.kind,
        "kinds": KINDS,
        "cluster": None
        if data.cluster is None
        else np.where(data.cluster < 0, _NO_CLUSTER, data.cluster).astype(np.uint16),
        "clusterNames": data.cluster_names,
        "task": None if data.task is None else np.round(255 * data.task).astype(np.uint8),
        "neighbors": None if data.neighbors is None else _pairs(data, data.neighbors),
        "runs": [
            *(_trajectory(data, one) for one in data.trails),
            *(_layers(data, one) for one in placed(data)),
        ],
        "shifts": [asdict(one) for one in data.shifts],
        "changes": [_change(one.change) for one in changed(data)],
    }


def placed(data: ExplorerData) -> list[AdapterDirections]:
    """List the runs that have directions on the map."""
    return [one for one in data.directions if one.points]


def changed(data: ExplorerData) -> list[AdapterDirections]:
    """List the runs by whose changes the tokens can be colored."""
    return [one for one in data.directions if one.change is not None]


def direction_place(point: DirectionPoint) -> tuple[int, int]:
    """Return what a direction is sorted by within its layer: its kind and rank."""
    return DIRECTION_KINDS.index(point.kind), point.rank


def _thirds(places: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Pack coordinates (V, 3) of the page's units into ten bits each, shape (V,)."""
    x, y, z = np.clip(places // 64, 0, 1023).astype(np.uint32).T
    return x | y << 10 | z << 20


def _pairs(data: ExplorerData, pairs: NeighborPairs) -> dict[str, Any]:
    """Encode pairs as the number of each token's pairs and steps between their higher ids.

    A step is the difference to the higher id before, for the first pair to the lower id; its bytes
    are in separate arrays, because the upper ones are small and compress well.
    """
    first = np.r_[True, pairs.low[1:] != pairs.low[:-1]] if len(pairs.low) else pairs.low == 0
    before = np.where(first, pairs.low, np.r_[0, pairs.high[:-1]])
    steps = (pairs.high - before).astype("<u4").view(np.uint8).reshape(-1, 4)
    width = 3 if len(data.tokens) > 65_536 else 2
    return {
        "k": pairs.k,
        "metrics": pairs.metrics,
        "counts": np.bincount(pairs.low, minlength=len(data.tokens)).astype(np.uint32),
        "steps": [np.ascontiguousarray(steps[:, byte]) for byte in range(width)],
        "cosine": _cosines(pairs.cosine),
        "meanSquare": pairs.mean_square,
        **_needed(pairs),
    }


def _cosines(values: NDArray[np.float32]) -> dict[str, Any]:
    """Round cosines to 8,192 levels between their ends, in separate bytes like the steps."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    side = (high - low) or 1.0
    levels = np.round((values.astype(float) - low) / side * _COSINES).astype(np.uint16)
    planes = [(levels & 255).astype(np.uint8), (levels >> 8).astype(np.uint8)]
    return {"planes": planes, "low": low, "step": side / _COSINES}


def _needed(pairs: NeighborPairs) -> dict[str, Any]:
    """Numbers of the tokens from which the similarities of the kept metrics follow."""
    needed = {"centered": ("meanProduct", pairs.mean_product), "csls": ("density", pairs.density)}
    return {
        name: quantized(values)
        for metric, (name, values) in needed.items()
        if metric in pairs.metrics
    }


def _layers(data: ExplorerData, one: AdapterDirections) -> dict[str, Any]:
    """Arrange points like a trajectory: layers for steps, and a vector for each kind and rank.

    A layer without a vector has null in its place.
    """
    layers = sorted({point.layer for point in one.points})
    places = sorted({direction_place(point) for point in one.points})
    by_place = {(point.layer, direction_place(point)): point for point in one.points}
    grid = [[by_place.get((layer, place)) for place in places] for layer in layers]

    def cells(value: Callable[[DirectionPoint], Any]) -> list[list[Any]]:
        return [[point and value(point) for point in row] for row in grid]

    return {
        "name": f"{one.name}, inside",
        "steps": layers,
        "positions": [_label(kind, rank) for kind, rank in places],
        "kinds": [DIRECTION_KINDS[kind] for kind, _ in places],
        "names": cells(lambda point: point.name),
        "sizes": cells(lambda point: float(f"{point.size:.3g}")),
        "q": cells(lambda point: point.q),
        "xyz": cells(
            lambda point: _place(
                data,
                data.points[point.center],
                None if data.space is None else data.space[point.center],
            )
        ),
        "near": {
            "tokens": {
                "ids": cells(lambda point: point.tokens.tolist()),
                "similarity": cells(lambda point: np.round(point.values, 2).tolist()),
            }
        },
    }


def _label(kind: int, rank: int) -> str:
    """Name a row of the page; the two signs of a direction follow each other."""
    name = DIRECTION_KINDS[kind]
    return f"{name} {rank // 2 + 1}{'+−'[rank % 2]}" if kind else name


def _place(data: ExplorerData, on_map: NDArray[Any], in_space: NDArray[Any] | None) -> list[Any]:
    """Join the two numbers of a place on the map and the three in space, if there is one."""
    numbers = [data.scaled(on_map), *([] if in_space is None else [data.scaled(in_space)])]
    return np.round(np.concatenate(numbers, axis=-1), 1).tolist()


def _change(values: NDArray[np.float32] | None) -> dict[str, Any]:
    """Scale changes so that 128 is none; the largest thousandth is cut off."""
    assert values is not None  # see `changed`
    limit = float(np.quantile(np.abs(values), 0.999)) or 1.0
    shares = np.clip(values / limit, -1, 1)
    return {"values": np.round(128 + 127 * shares).astype(np.uint8), "limit": limit}


def _trajectory(data: ExplorerData, one: PromptTrajectory) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict,
        "steps": one.steps,
        "positions": one.positions,
        "starts": one.starts,
        "xyz": _place(data, one.xy, one.space),
        "displacement": _nullable(one.displacement),
        "offVocabulary": _nullable(one.off_vocabulary),
        "verdicts": one.verdicts,
        "q": one.q,
        "near": {
            metric: {"ids": ids.tolist(), "similarity": np.round(similarity, 4).tolist()}
            for metric, (ids, similarity) in one.near.items()
        },
    }


def _nullable(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(one) else round(float(one), 4) for one in row] for row in values]

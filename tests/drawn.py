"""Atlases that nobody computed, for what draws them."""

import numpy as np

from peftlens.explorer.data import (
    AdapterDirections,
    DirectionPoint,
    ExplorerData,
    LogitShift,
    NeighborPairs,
    PromptTrajectory,
)

METRICS = ("cosine", "csls")
HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}"
TOKENS = tuple(
    {7: HOSTILE, 8: "=cmd()", 9: "a<U+202E>b", 10: '"quoted"'}.get(n, f"␣word{n}")
    for n in range(500)
)


def trail(name, size, *, vectors=4, steps=(0, 20, 40), seed=0):
    rng = np.random.default_rng(seed)
    shape = (len(steps), vectors)
    near = {
        metric: (rng.integers(size, size=(*shape, 5)), rng.random((*shape, 5)))
        for metric in METRICS
    }
    return PromptTrajectory(
        name=name,
        verdict="readable",
        steps=steps,
        positions=tuple(range(vectors)),
        starts=tuple(f"start{n}" for n in range(vectors)),
        xy=rng.normal(size=(*shape, 2)),
        space=rng.normal(size=(*shape, 3)),
        displacement=rng.random(shape),
        off_vocabulary=np.where(rng.random(shape) < 0.5, np.nan, 0.5),
        verdicts=[["readable"] * vectors for _ in steps],
        q=[[0.01] * (vectors - 1) + [None] for _ in steps],
        near=near,
    )


def shift(name, size):
    ids = np.random.default_rng(3).permutation(size)[:6]
    return LogitShift(
        name=name,
        text="900 tokens of wiki",
        raised=tuple((int(one), 2.0 - n) for n, one in enumerate(ids[:3])),
        lowered=tuple((int(one), n - 2.0) for n, one in enumerate(ids[3:])),
    )


def directions(name, size, *, layers=(1, 2, 3), notes=()):
    """A difference in every layer, and two written and two read directions in all but the last."""
    rng = np.random.default_rng(4)
    points = [
        DirectionPoint(
            layer=layer,
            kind=kind,
            rank=rank,
            name=f"{kind}, layer {layer}, {rank}",
            size=float(rng.random()),
            center=int(rng.integers(size)),
            tokens=rng.permutation(size)[:10],
            values=-np.sort(-rng.integers(1, 999, 10)) / 100,
            q=0.03 if layer == 1 else None,
        )
        for layer in layers
        for kind, count in (("difference", 1), ("writes", 2), ("reads", 2))
        for rank in range(count)
        if kind == "difference" or layer != layers[-1]
    ]
    change = rng.normal(size=size).astype(np.float32)
    return AdapterDirections(name=name, points=tuple(points), change=change, notes=notes)


def neighbors(size, k=8, metrics=("cosine",)):
    """Made-up pairs, each token with k others; more metrics have more."""
    rng = np.random.default_rng(5)
    others = rng.integers(1, size, size=(size, k * len(metrics)))
    one = np.repeat(np.arange(size), others.shape[1])
    other = (one + others.ravel()) % size
    keys = np.unique(np.minimum(one, other) * size + np.maximum(one, other))
    return NeighborPairs(
        k=k, metrics=metrics, low=keys // size, high=keys % size,
        cosine=rng.random(len(keys)).astype(np.float32),
        mean_product=rng.random(size).astype(np.float32),
        density=rng.random(size).astype(np.float32), mean_square=0.5,
    )  # fmt: skip


def explorer_data(size=500, trails=("one", "two"), tokens=None, **values):
    rng = np.random.default_rng(1)
    defaults = {
        "base": "made-up",
        "sha256": "ba5e" * 16,
        "width": 64,
        "tokens": tokens or tuple(f"␣word{n}" for n in range(size)),
        "points": rng.normal(size=(size, 2)).astype(np.float32),
        "projection": "umap",
        "recall": 0.12,
        "chance": 0.0003,
        "norm": rng.random(size),
        "kind": rng.integers(0, 7, size).astype(np.uint8),
        "cluster": rng.integers(-1, 30, size),
        "cluster_names": tuple(f"cluster {n}" for n in range(30)),
        "trails": tuple(trail(name, size, seed=n) for n, name in enumerate(trails)),
        "shifts": (shift("lora", size),),
        "task": rng.random(size),
        "space": rng.normal(size=(size, 3)).astype(np.float32),
        "neighbors": neighbors(size),
    }
    return ExplorerData(**(defaults | values))

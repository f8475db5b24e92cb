"""Which vocabulary tokens lie nearest to each trained vector, by five metrics, at every checkpoint.

Neighbors alone prove nothing: a prompt that starts at vocabulary embeddings is near them without
having learned anything, and neighbors of any token are close to each other. So the table shows the
start beside the present; what may be concluded, `soft_prompt_null` tests.
Source: Lester et al. 2021, arXiv:2104.08691, section 7 (cosine, five neighbors).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import METRICS, nearest
from peftlens.vocab.null_tests import NeighborhoodSpace
from peftlens.vocab.trained_vectors import TrainedVectors, trained_vectors
from peftlens.vocab.vocabulary import Graph, Vocabulary, graph, states, vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 4
NeighborS = 5
COLUMNS = (
    Column("step", "training steps so far"),
    Column("position", "which virtual token, counted from 0, or which row of the embedding table"),
    Column("metric", "how nearness was measured: cosine, centered, dot, euclidean, csls"),
    Column(
        "tokens",
        "list of the nearest tokens; ␣ is a space, <...> are bytes and marks without a shape",
    ),
    Column("token_ids", "list of their ids"),
    Column("similarities", "list of their similarities; a Euclidean distance is negative"),
    Column("similarity", "similarity of the nearest"),
    Column("flags", "of these tokens: special, untrained, without a name, hubs"),
    Column("families", "different words among them: spellings of one word count once", "1"),
    Column("tightness", "mean cosine between the five nearest words, where they lie", "1"),
    Column("context_tightness", "the same between their states in the middle of the model", "1"),
    Column("start_token", "the nearest token before training"),
    Column("nearest_unchanged", "whether the nearest token is still that one"),
    Column("relative_displacement", "||p − p0|| / ||p0||, p0 the vector before training", "1"),
    Column("off_vocabulary", "share of tokens whose nearest other token is nearer than this", "1"),
    Column("norm_percentile", "share of tokens that are shorter", "1"),
    Column("space", "embedding, or keys of layer 0"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row per step, vector and metric."""
    base = context.base_model(run)
    known, hidden = vocabulary(base), states(base)
    rows = []
    for step in run.steps:
        found = trained_vectors(run, base, step)
        near = graph(base) if found.space == "embedding" else None
        places = _places(found, near, known)
        density = None if near is None else torch.from_numpy(near.density).to(found.table.device)
        for metric in METRICS:
            if metric != "csls" or density is not None:  # densities are the embedding table's
                space = NeighborhoodSpace.of(found.table, known, hidden, metric, density)
                rows += ({"step": step} | row for row in _rows(found, space, places, known, near))
    return pd.DataFrame(rows)[[column.name for column in COLUMNS]]


def _places(found: TrainedVectors, near: Graph | None, known: Vocabulary) -> list[dict[str, Any]]:
    """What is the same by every metric: how far each vector moved, and how far out it lies."""
    usable = known.usable
    norms = found.table.norm(dim=1).cpu().numpy()[usable]
    own = found.now.norm(dim=1).cpu().numpy()
    closest = nearest(found.now, found.table, 1).similarity[:, 0]
    moved = None
    if found.start is not None:
        moved = (found.now - found.start).norm(dim=1) / found.start.norm(dim=1)
    return [
        {
            "position": position,
            "relative_displacement": None if moved is None else float(moved[i]),
            "off_vocabulary": None
            if near is None
            else (near.cosine[usable, 0] > closest[i]).mean(),
            "norm_percentile": (norms < own[i]).mean(),
            "space": found.space,
        }
        for i, position in enumerate(found.positions)
    ]


def _rows(
    found: TrainedVectors,
    space: NeighborhoodSpace,
    places: list[dict[str, Any]],
    known: Vocabulary,
    near: Graph | None,
) -> Iterator[dict[str, Any]]:
    metric, density = space.metric, space.density
    k = min(NeighborS, len(found.table))
    now = nearest(found.now, found.table, k, metric, density=density)
    start = None
    if found.start is not None:
        start = nearest(found.start, found.table, 1, metric, density=density).ids[:, 0]
    tight, in_context = space.tightness(space.around(found.now))
    for i, place in enumerate(places):
        ids = now.ids[i]
        yield place | {
            "metric": metric,
            "tokens": [known.tokens[token] for token in ids],
            "token_ids": ids.tolist(),
            "similarities": now.similarity[i].tolist(),
            "similarity": now.similarity[i, 0],
            "flags": _oddities(ids, known, near),
            "families": len(set(known.family[ids])),
            "tightness": None if np.isnan(tight[i]) else tight[i],
            "context_tightness": None if np.isnan(in_context[i]) else in_context[i],
            "start_token": None if start is None else known.tokens[start[i]],
            "nearest_unchanged": None if start is None else bool(start[i] == ids[0]),
        }


def _oddities(ids: np.ndarray, known: Vocabulary, near: Graph | None) -> str:
    hubs = np.zeros(len(known.tokens), bool) if near is None else near.hubs
    flags = [(token, known.flags(token) or ("hub" if hubs[token] else "")) for token in ids]
    return "; ".join(f"{known.tokens[token]}: {flag}" for token, flag in flags if flag)

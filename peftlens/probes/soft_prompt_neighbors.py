"""Nearest vocabulary tokens of each trained vector, by five metrics, at every checkpoint.

Neighbors alone prove nothing: a prompt initialized with vocabulary embeddings is near them without
any learning, and the neighbors of any token are close to each other. The table therefore includes
the neighbors before training; `soft_prompt_null` tests the hypotheses. Nor does a distance from all
tokens prove anything: any continuous vector has one, such as the start after a random step as long
as the training's.
Source: Lester et al. 2021, arXiv:2104.08691, section 7 (cosine, five neighbors).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.nearest_neighbors import METRICS, nearest
from peftlens.vocab.null_tests import NeighborhoodSpace
from peftlens.vocab.trained_vectors import TrainedVectors, trained_vectors
from peftlens.vocab.vocabulary import Graph, Vocabulary, graph, states, vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 6
NEIGHBORS = 5
_RANDOM_STEPS = 100  # about as many for all vectors of a prompt together
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "index of the virtual token, or of the row of the embedding table"),
    Column("metric", "similarity metric: cosine, centered, dot, euclidean or csls"),
    Column(
        "tokens",
        "list of the nearest tokens; ␣ is a space, <...> are bytes and invisible characters",
    ),
    Column("token_ids", "list of the ids of these tokens"),
    Column(
        "similarities", "list of the similarities of these tokens; Euclidean distances are negated"
    ),
    Column("similarity", "similarity of the nearest token"),
    Column("flags", "flags of these tokens: special, untrained, unnamed, hub"),
    Column(
        "families", "number of different words among them; spellings of one word count once", "1"
    ),
    Column(
        "tightness", "mean cosine between the five nearest words, in the space of the vectors", "1"
    ),
    Column(
        "context_tightness",
        "mean cosine between their hidden states in the middle of the model",
        "1",
    ),
    Column("start_token", "nearest token before training"),
    Column("nearest_unchanged", "true if the nearest token is the same as before training"),
    Column("relative_displacement", "||p − p0|| / ||p0||, p0 the vector before training", "1"),
    Column("start_cosine", "cosine with p0: 1 at the start, about 0 for a random direction", "1"),
    Column(
        "off_vocabulary",
        "share of tokens nearer to another token than this vector to its nearest",
        "1",
    ),
    Column(
        "random_step_similarity",
        "cosine to the nearest token after a random step from the start as long as the vector's, "
        "mean over draws; missing if the start is unknown, and of other vectors than soft prompts",
        "1",
    ),
    Column("norm_percentile", "share of tokens of smaller norm", "1"),
    Column("space", "vector space: embedding, or keys of layer 0"),
    Column("kind", "kind of vectors: soft prompt, prefix, or embedding rows"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step, vector and metric."""
    base = context.base_model(run)
    words, hidden = vocabulary(base), states(base)
    rows = []
    for step in run.steps:
        vectors = trained_vectors(run, base, step)
        near = graph(base) if vectors.space == "embedding" else None
        positions = _positions(vectors, near, words)
        density = None if near is None else torch.from_numpy(near.density).to(vectors.table.device)
        for metric in METRICS:
            if metric != "csls" or density is not None:  # densities refer to the embedding table
                space = NeighborhoodSpace.of(vectors.table, words, hidden, metric, density)
                rows += (
                    {"step": step} | row for row in _rows(vectors, space, positions, words, near)
                )
    return pd.DataFrame(rows)[[column.name for column in COLUMNS]]


def _positions(
    vectors: TrainedVectors, near: Graph | None, words: Vocabulary
) -> list[dict[str, Any]]:
    """Compute the metric-independent columns: displacement, distance from tokens, and norm."""
    usable = words.usable
    norms = vectors.table.norm(dim=1).cpu().numpy()[usable]
    lengths = vectors.now.norm(dim=1).cpu().numpy()
    closest = nearest(vectors.now, vectors.table, 1).similarity[:, 0]
    displacement = start_cosine = None
    if vectors.start is not None:
        displacement = (vectors.now - vectors.start).norm(dim=1) / vectors.start.norm(dim=1)
        start_cosine = torch.cosine_similarity(vectors.now, vectors.start, dim=1)
    steps = _random_steps(vectors)
    return [
        {
            "position": position,
            "relative_displacement": None if displacement is None else float(displacement[i]),
            "start_cosine": None if start_cosine is None else float(start_cosine[i]),
            "off_vocabulary": None
            if near is None
            else (near.cosine[usable, 0] > closest[i]).mean(),
            "random_step_similarity": None if steps is None else float(steps[i]),
            "norm_percentile": (norms < lengths[i]).mean(),
            "space": vectors.space,
            "kind": vectors.kind,
        }
        for i, position in enumerate(vectors.positions)
    ]


def _random_steps(vectors: TrainedVectors) -> NDArray[np.float64] | None:
    """Compute the cosine to the nearest token after random steps, mean over draws, shape (n,)."""
    if vectors.start is None or vectors.kind != "soft prompt":
        return None
    start, n = vectors.start, len(vectors.start)
    lengths = (vectors.now - start).norm(dim=1, keepdim=True)
    rng, found = np.random.default_rng(0), []
    for _ in range(max(1, _RANDOM_STEPS // n)):
        noise = torch.from_numpy(rng.standard_normal(start.shape, dtype=np.float32))
        directions = torch.nn.functional.normalize(noise.to(start.device))
        found.append(nearest(start + lengths * directions, vectors.table, 1).similarity[:, 0])
    return np.mean(found, axis=0)


def _rows(
    vectors: TrainedVectors,
    space: NeighborhoodSpace,
    positions: list[dict[str, Any]],
    words: Vocabulary,
    near: Graph | None,
) -> Iterator[dict[str, Any]]:
    metric, density = space.metric, space.density
    k = min(NEIGHBORS, len(vectors.table))
    now = nearest(vectors.now, vectors.table, k, metric, density=density)
    start = None
    if vectors.start is not None:
        start = nearest(vectors.start, vectors.table, 1, metric, density=density).ids[:, 0]
    tight, in_context = space.tightness(space.around(vectors.now))
    for i, row in enumerate(positions):
        ids = now.ids[i]
        yield row | {
            "metric": metric,
            "tokens": [words.tokens[token] for token in ids],
            "token_ids": ids.tolist(),
            "similarities": now.similarity[i].tolist(),
            "similarity": now.similarity[i, 0],
            "flags": _flags(ids, words, near),
            "families": len(set(words.family[ids])),
            "tightness": None if np.isnan(tight[i]) else tight[i],
            "context_tightness": None if np.isnan(in_context[i]) else in_context[i],
            "start_token": None if start is None else words.tokens[start[i]],
            "nearest_unchanged": None if start is None else bool(start[i] == ids[0]),
        }


def _flags(ids: np.ndarray, words: Vocabulary, near: Graph | None) -> str:
    hubs = np.zeros(len(words.tokens), bool) if near is None else near.hubs
    flags = [(token, words.flags(token) or ("hub" if hubs[token] else "")) for token in ids]
    return "; ".join(f"{words.tokens[token]}: {flag}" for token, flag in flags if flag)

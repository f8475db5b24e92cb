"""Vocabulary cluster of each trained vector, and concentration of the vectors on few clusters.

The vocabulary is clustered once per base model. A vector belongs to the cluster of its nearest
usable token. Concentration means a lower entropy over clusters than that of random directions and
of random steps from the initialization: p = (1 + #{null <= observed}) / (1 + B). The table includes
the quality of the clusters, because embeddings do not form clear-cut groups.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import entropy

from peftlens.adapters.run_context import RunContext
from peftlens.numerics.resampling import p_value
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.clusters import clusters
from peftlens.vocab.null_tests import Ids, neighborhoods
from peftlens.vocab.trained_vectors import trained_vectors

REQUIRES = frozenset({"token_vectors"})
VERSION = 1
MEASURED_WITH = "soft_prompt_null"
_NULLS = ("random_directions", "steps", "untrained")
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("position", "position of the vector; missing in the row of the whole prompt"),
    Column("cluster", "index of the vector's cluster"),
    Column("cluster_name", "most central common words of the cluster"),
    Column("start_cluster_name", "name of the vector's cluster before training"),
    Column("clusters_used", "number of clusters with vectors of the prompt"),
    Column("entropy", "entropy of the vectors over clusters; 0 for a single cluster", "nats"),
    *(Column(f"p_{null}", f"p of an entropy as low among {null.replace('_', ' ')}", "1")
      for null in _NULLS),
    *(Column(f"mean_{null}", f"mean entropy of {null.replace('_', ' ')}", "nats")
      for null in _NULLS),
    Column("n_clusters", "number of clusters of the vocabulary"),
    Column("silhouette", "silhouette of the clusters, −1 to 1; below 0: overlap", "1", "higher"),
    Column("coherence", "mean cosine within a cluster in the middle of the model", "1", "higher"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per step and vector, and one per prompt."""
    base = context.base_model(run)
    vocab = clusters(base)
    rows = []
    for step in run.steps:
        _, sample = neighborhoods(run, base, step, "cosine")
        label = vocab.label[sample.now[:, 0]]
        start = None if sample.start is None else vocab.label[sample.start[:, 0]]
        for index, position in enumerate(trained_vectors(run, base, step).positions):
            first = {} if start is None else {"start_cluster_name": vocab.names[start[index]]}
            now = {"cluster": label[index], "cluster_name": vocab.names[label[index]]}
            rows.append({"step": step, "position": position} | now | first)
        spread = {
            "clusters_used": len(set(label)),
            "entropy": _entropy(label[None])[0],
            "n_clusters": len(vocab.names),
            "silhouette": vocab.silhouette,
            "coherence": vocab.coherence,
        }
        rows.append({"step": step} | spread | _tests(vocab.label, label, sample.nulls))
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype(dict.fromkeys(("position", "cluster", "clusters_used", "n_clusters"),
                                      "Int64"))  # fmt: skip


def _tests(labels: Ids, observed: Ids, nulls: dict[str, Ids]) -> dict[str, float]:
    rng, tests = np.random.default_rng(0), {}
    for name in (name for name in _NULLS if name in nulls):
        ids = nulls[name][..., 0]  # (n or 1, B)
        whole = np.broadcast_to(ids, (len(observed), ids.shape[1]))
        # vectors share their draws, so these are shuffled, or all would be in one cluster
        drawn = _entropy(labels[np.stack([rng.permutation(row) for row in whole])].T)
        tests[f"p_{name}"] = p_value(-_entropy(observed[None])[0], -drawn)
        tests[f"mean_{name}"] = drawn.mean()
    return tests


def _entropy(labels: Ids) -> NDArray[np.float64]:
    """Compute the entropy over clusters of each row's labels, nats, shape (rows,)."""
    return np.array([entropy(np.unique(row, return_counts=True)[1]) for row in labels])

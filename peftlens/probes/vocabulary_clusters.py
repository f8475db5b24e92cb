"""Which cluster of the base's vocabulary each trained vector lies in, and whether they gather.

The vocabulary is clustered once per base model. A vector belongs where its nearest usable token
does. Gathered means that the vectors spread over fewer clusters (a lower entropy) than random
directions and random steps from their start would: p = (1 + #{null <= observed}) / (1 + B).
How good the clusters are is said beside them; embeddings do not fall into clear-cut groups.
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
_NULLS = ("random_directions", "steps", "untrained")
COLUMNS = (
    Column("step", "training steps so far"),
    Column("position", "which vector; missing in the row of the whole prompt"),
    Column("cluster", "number of its cluster"),
    Column("cluster_name", "the cluster's most central common words"),
    Column("start_cluster_name", "the same before training"),
    Column("clusters_used", "clusters that the prompt's vectors lie in"),
    Column("entropy", "of the vectors over clusters; 0 if all lie in one", "nats"),
    *(Column(f"p_{null}", f"p of an entropy as low among {null.replace('_', ' ')}", "1")
      for null in _NULLS),
    *(Column(f"mean_{null}", f"mean entropy of {null.replace('_', ' ')}", "nats")
      for null in _NULLS),
    Column("n_clusters", "clusters of the vocabulary"),
    Column("silhouette", "of the clusters, −1 to 1; below 0 they overlap", "1", "higher"),
    Column("coherence", "mean cosine within a cluster in the middle of the model", "1", "higher"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row per step and vector, and one for the whole prompt."""
    base = context.base_model(run)
    known = clusters(base)
    rows = []
    for step in run.steps:
        _, found = neighborhoods(run, base, step, "cosine")
        label = known.label[found.now[:, 0]]
        start = None if found.start is None else known.label[found.start[:, 0]]
        for place, position in enumerate(trained_vectors(run, base, step).positions):
            first = {} if start is None else {"start_cluster_name": known.names[start[place]]}
            now = {"cluster": label[place], "cluster_name": known.names[label[place]]}
            rows.append({"step": step, "position": position} | now | first)
        spread = {
            "clusters_used": len(set(label)),
            "entropy": _entropy(label[None])[0],
            "n_clusters": len(known.names),
            "silhouette": known.silhouette,
            "coherence": known.coherence,
        }
        rows.append({"step": step} | spread | _tests(known.label, label, found.nulls))
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype(dict.fromkeys(("position", "cluster", "clusters_used", "n_clusters"),
                                      "Int64"))  # fmt: skip


def _tests(labels: Ids, observed: Ids, nulls: dict[str, Ids]) -> dict[str, float]:
    rng, found = np.random.default_rng(0), {}
    for name in (name for name in _NULLS if name in nulls):
        ids = nulls[name][..., 0]  # (n or 1, B)
        whole = np.broadcast_to(ids, (len(observed), ids.shape[1]))
        # vectors share their draws: mixed, or all would lie in one cluster
        drawn = _entropy(labels[np.stack([rng.permutation(row) for row in whole])].T)
        found[f"p_{name}"] = p_value(-_entropy(observed[None])[0], -drawn)
        found[f"mean_{name}"] = drawn.mean()
    return found


def _entropy(labels: Ids) -> NDArray[np.float64]:
    """Entropy over clusters of each row's labels, nats, shape (rows,)."""
    return np.array([entropy(np.unique(row, return_counts=True)[1]) for row in labels])

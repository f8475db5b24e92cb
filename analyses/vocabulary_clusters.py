"""Write reports/soft_prompts/vocabulary_clusters.csv: a comparison of clustering algorithms.

python analyses/vocabulary_clusters.py

All cluster the centered, normalized embeddings of smollm2-135m and are compared in a space that
none of them uses: by the mean cosine of two tokens of a cluster in the middle of the model.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import AgglomerativeClustering, BisectingKMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

from peftlens.models.base_model import load_base_model
from peftlens.vocab.clusters import centered, coherence, joined, silhouette
from peftlens.vocab.vocabulary import graph, states, vocabulary

OUT = Path(__file__).parent.parent / "reports" / "soft_prompts" / "vocabulary_clusters.csv"


def main() -> None:
    """Fit each algorithm, with two seeds if it has seeds."""
    base = load_base_model("smollm2-135m")
    known = vocabulary(base)
    usable = known.usable
    rows, hidden = centered(known)[usable], states(base)[usable]
    links = joined(usable, graph(base))
    found = []
    for count in (256, 1024, 2048):
        algorithms = {
            "MiniBatchKMeans": lambda seed, k=count: MiniBatchKMeans(
                k, batch_size=4096, n_init=1, random_state=seed
            ),
            "BisectingKMeans": lambda seed, k=count: BisectingKMeans(
                k, random_state=seed, bisecting_strategy="largest_cluster"
            ),
            "Ward on the neighbor graph": lambda _, k=count: AgglomerativeClustering(
                k, connectivity=links, linkage="ward"
            ),
        }
        for name, make in algorithms.items():
            started = time.perf_counter()
            label = make(0).fit_predict(rows)
            seconds = time.perf_counter() - started
            again = label if name.startswith("Ward") else make(1).fit_predict(rows)
            found.append(quality(name, count, rows, hidden, label)
                         | {"agreement_of_seeds": adjusted_rand_score(label, again),
                            "seconds": seconds})  # fmt: skip
            print(found[-1], flush=True)
        drawn = np.random.default_rng(0).integers(0, count, len(rows))
        found.append(quality("at random", count, rows, hidden, drawn))
    pd.DataFrame(found).to_csv(OUT, index=False, float_format="%.4g")


def quality(name: str, count: int, rows, hidden, label) -> dict[str, object]:
    """Compute one row of the table."""
    sizes = np.bincount(label)
    return {
        "algorithm": name,
        "clusters": count,
        "coherence": coherence(hidden, label),
        "silhouette": silhouette(rows, label),
        "median_size": np.median(sizes),
        "largest": sizes.max(),
        "alone": (sizes == 1).sum(),
    }


if __name__ == "__main__":
    main()

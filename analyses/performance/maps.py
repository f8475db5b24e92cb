"""Time of a base model's first vocabulary map, and the share of neighbors that it retains.

python analyses/performance/maps.py

SmolLM2-135M, 49,152 tokens, everything computed anew; umap's compilation is counted where numba's
cache is empty.
"""

import time
from collections.abc import Callable
from typing import Any

from measurements import write

from peftlens.models import base_model
from peftlens.vocab import projection as maps
from peftlens.vocab import vocabulary

made: dict[str, Any] = {}
took: dict[str, float] = {}


def timed(_: base_model.BaseModel, name: str, make: Callable[[], Any]) -> Any:
    """In the place of the cache: made anew, and its seconds kept."""
    if name not in made:
        started = time.perf_counter()
        made[name] = make()
        took[name] = time.perf_counter() - started
    return made[name]


def main() -> None:
    """Write reports/performance/maps.csv."""
    vocabulary.kept = maps.kept = timed
    opened = base_model.load_base_model("smollm2-135m")
    rows = [
        {"projection": projection, "tokens": len(found.points),
         "neighbors_seconds": round(took["graph"]),
         "projection_seconds": round(took[f"map-{projection}"], 1),
         "recall": round(found.recall, 4), "chance": round(found.chance, 4)}
        for projection in ("umap", "pca")
        for found in [maps.vocabulary_map(opened, projection)]
    ]  # fmt: skip
    write(__file__, rows)


if __name__ == "__main__":
    main()

"""Where the base model's parameters sit: attention, feed-forward layers, embeddings, the rest."""

import math
from collections import Counter

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.models.architecture import part_of
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
COLUMNS = (
    Column("part", "attention, feed_forward, embeddings or other"),
    Column("parameters", "of the base; a weight that two layers share counts once", "1"),
    Column("share", "of all its parameters", "1"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """A row for each part; the same for every run of one base."""
    counts: Counter[str] = Counter()
    for name, shape in context.base_model(run).shapes.items():
        counts[part_of(name)] += math.prod(shape)
    whole = counts.total()
    rows = [{"part": p, "parameters": n, "share": n / whole} for p, n in counts.most_common()]
    return pd.DataFrame(rows)

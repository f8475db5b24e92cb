"""Distribution of the base model's parameters over attention, feed-forward and embeddings."""

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
    Column("part", "part of the model: attention, feed_forward, embeddings or other"),
    Column("parameters", "number of parameters; weights shared by layers count once", "1"),
    Column("share", "share of all parameters of the base", "1"),
)
CHARTS = (Chart("points", x="part", y="share", title="Where the base model's parameters are"),)


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per part of the model; equal for all runs of one base."""
    counts: Counter[str] = Counter()
    for name, shape in context.base_model(run).shapes.items():
        counts[part_of(name)] += math.prod(shape)
    whole = counts.total()
    rows = [{"part": p, "parameters": n, "share": n / whole} for p, n in counts.most_common()]
    return pd.DataFrame(rows)

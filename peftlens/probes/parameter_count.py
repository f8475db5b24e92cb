"""How much was trained, and how much it takes to keep it."""

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
COLUMNS = (
    Column("rank", "nominal rank; missing for methods that have none"),
    Column("trainable_parameters", "parameters that the optimizer changes", "1", "lower"),
    Column("share", "trainable parameters over the base model's", "1", "lower"),
    Column("adapter_bytes", "size of adapter_model.safetensors", "bytes", "lower"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """One row.

    Raises:
        NotApplicable: it is an adapter from elsewhere, whose training nobody recorded.
    """
    results = run.record.results
    if "trainable_parameters" not in results:
        raise NotApplicable("its training kept no numbers")
    row = {
        "rank": run.rank,
        "trainable_parameters": results["trainable_parameters"],
        "share": results["trainable_parameters"] / results["base_parameters"],
        "adapter_bytes": (run.adapter() / "adapter_model.safetensors").stat().st_size,
    }
    return pd.DataFrame([row]).astype({"rank": "Int64"})

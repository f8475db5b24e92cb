"""Number of trainable parameters and size of the adapter file."""

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
COLUMNS = (
    Column("rank", "nominal rank; missing for methods without a rank"),
    Column("trainable_parameters", "number of parameters changed by the optimizer", "1", "lower"),
    Column("share", "trainable parameters divided by the base model's parameters", "1", "lower"),
    Column("adapter_bytes", "size of adapter_model.safetensors", "bytes", "lower"),
)
CHARTS = (
    Chart("points", x="configuration", y="trainable_parameters", title="Trainable parameters",
          log_x=True),
    Chart("points", x="configuration", y="adapter_bytes", title="Size of the adapter file",
          log_x=True),
)  # fmt: skip


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row.

    Raises:
        NotApplicable: no training was recorded, as with external adapters.
    """
    results = run.record.results
    if "trainable_parameters" not in results:
        raise NotApplicable("no training metrics were recorded")
    row = {
        "rank": run.rank,
        "trainable_parameters": results["trainable_parameters"],
        "share": results["trainable_parameters"] / results["base_parameters"],
        "adapter_bytes": (run.adapter() / "adapter_model.safetensors").stat().st_size,
    }
    return pd.DataFrame([row]).astype({"rank": "Int64"})

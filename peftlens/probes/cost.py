"""What a run took and what it gave, as training wrote it down: nothing is computed again.

Time and memory are the machine's: compare runs of one study on one machine that did nothing else.
"""

from statistics import median

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 2
COLUMNS = (
    Column("learning_rate", "highest rate of the run"),
    Column("validation_accuracy", "share of validation examples answered right", "1", "higher"),
    Column("validation_loss", "negative log-probability of the right answers there",
           "nats per token", "lower"),
    Column("step_seconds", "median over the logged steps but the first", "s", "lower"),
    Column("tokens_per_second", "tokens read in training, median as before", "1/s", "higher"),
    Column("training_seconds", "all steps together", "s", "lower"),
    Column("peak_memory_bytes", "highest memory of training over the loaded base; missing where "
           "the system does not say", "bytes", "lower"),
    Column("optimizer_state_bytes", "what the optimizer holds: moments, and float32 copies of weights of "
           "lower precision", "bytes", "lower"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="peak_memory_bytes",
        title="Memory of training, over the loaded base (a mark for each run)",
    ),
    Chart(
        "points",
        x="configuration",
        y="step_seconds",
        title="Time of a training step (a mark for each run)",
    ),
)


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """One row.

    Raises:
        NotApplicable: it is an adapter from elsewhere, whose training nobody recorded.
    """
    results, lines = run.record.results, run.timing()
    if not lines:
        raise NotApplicable("its training kept no numbers")
    steps = [line for line in lines if line.get("step", 1) > 1]
    speeds = [line["tokens_per_second"] for line in steps if "tokens_per_second" in line]
    row = {
        "learning_rate": run.config.training.learning_rate,
        "validation_accuracy": results.get("validation_accuracy"),
        "validation_loss": results.get("validation_loss"),
        "step_seconds": median(line["seconds"] for line in steps) if steps else None,
        "tokens_per_second": median(speeds) if speeds else None,
        "training_seconds": lines[-1]["seconds"],
        "peak_memory_bytes": lines[-1].get("peak_memory_bytes"),
        "optimizer_state_bytes": results.get("optimizer_state_bytes"),
    }
    whole = {"peak_memory_bytes": "Int64", "optimizer_state_bytes": "Int64"}
    others = {name: "Float64" for name in row if name not in whole}
    return pd.DataFrame([row]).astype(whole | others)

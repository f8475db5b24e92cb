"""Cost and validation scores of a run, as recorded during training.

Time and memory depend on the machine: compare only runs of one study on one otherwise idle machine.
The interval of a step's time is that of the median of the logged steps: exact order statistics,
whatever the distribution (Conover 1999, Practical Nonparametric Statistics, section 3.2). It holds
within one run, and not for the difference of two that were trained at different times: see
`training_cost`.
"""

from collections.abc import Sequence
from statistics import median

import pandas as pd
from scipy.stats import quantile_test

from peftlens.adapters.run_context import RunContext
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 3
COLUMNS = (
    Column("learning_rate", "peak learning rate of the run"),
    Column("validation_accuracy", "share of validation examples answered right", "1", "higher"),
    Column("validation_loss", "negative log-probability of the right answers",
           "nats per token", "lower"),
    Column("step_seconds", "median time of the logged steps, without the first", "s", "lower"),
    Column("step_seconds_ci_low", "lower end of the median's 95 % interval; missing with fewer "
           "than six steps", "s"),
    Column("step_seconds_ci_high", "upper end of this interval", "s"),
    Column("n_steps", "number of these steps"),
    Column("tokens_per_second", "tokens per second, median of the same steps", "1/s", "higher"),
    Column("training_seconds", "total time of all steps", "s", "lower"),
    Column("peak_memory_bytes", "peak training memory above the loaded base; missing where "
           "the system does not report it", "bytes", "lower"),
    Column("optimizer_state_bytes", "memory of the optimizer: moments, and float32 copies of "
           "low-precision weights", "bytes", "lower"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="peak_memory_bytes",
        title="Training memory above the loaded base (one mark per run)",
    ),
    Chart(
        "points",
        x="configuration",
        y="step_seconds",
        title="Time of a training step (one mark per run; bars: 95 % interval over steps)",
        low="step_seconds_ci_low",
        high="step_seconds_ci_high",
    ),
)


def measure(_: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row.

    Raises:
        NotApplicable: no training was recorded, as with external adapters.
    """
    results, lines = run.record.results, run.timing()
    if not lines:
        raise NotApplicable("no training metrics were recorded")
    steps = [line for line in lines if line.get("step", 1) > 1]
    seconds = [line["seconds"] for line in steps]
    low, high = _median_interval(seconds)
    speeds = [line["tokens_per_second"] for line in steps if "tokens_per_second" in line]
    row = {
        "learning_rate": run.config.training.learning_rate,
        "validation_accuracy": results.get("validation_accuracy"),
        "validation_loss": results.get("validation_loss"),
        "step_seconds": median(seconds) if seconds else None,
        "step_seconds_ci_low": low,
        "step_seconds_ci_high": high,
        "n_steps": len(seconds),
        "tokens_per_second": median(speeds) if speeds else None,
        "training_seconds": lines[-1]["seconds"],
        "peak_memory_bytes": lines[-1].get("peak_memory_bytes"),
        "optimizer_state_bytes": results.get("optimizer_state_bytes"),
    }
    integers = dict.fromkeys(("n_steps", "peak_memory_bytes", "optimizer_state_bytes"), "Int64")
    floats = {name: "Float64" for name in row if name not in integers}
    return pd.DataFrame([row]).astype(integers | floats)


def _median_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a median; None where too few values can't give one."""
    if not values:
        return None, None
    interval = quantile_test(values, p=0.5).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    return (None, None) if low != low or high != high else (low, high)

"""Forgetting: change of loss on general text and of accuracy on general questions by training.

The baseline is the base model itself. Both models are scored in the same batches, so the forgetting
of a method that starts as the identity is exactly zero at step 0. Padding, virtual tokens and the
first token of a text, which is not predicted, are excluded. Of an encoder the loss on text is minus
the pseudo-log-likelihood of masked tokens, by the base's own head for them: its suites end in
"masked tokens". Without such a head there is `linear_probes`. Differences are paired by item: the
interval is a bootstrap over the suite's items, and does not include the variance between seeds. It
aggregates `forgetting_items`.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation import probe_runner
from peftlens.evaluation.retention import SuiteOptions as Config
from peftlens.numerics.answer_flips import answer_flips
from peftlens.numerics.resampling import Interval, ratio_interval
from peftlens.results.table import Chart, Column, NotApplicable, measured
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 5
MEASURED_WITH = "forgetting_items"

COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("suite", "name of the suite: general text, or questions with candidate answers"),
    Column("base_loss", "loss of the base model on texts or right answers; missing for tasks of "
           "lm-evaluation-harness", "nats per token", "lower"),
    Column("loss", "loss of the tuned model on texts or right answers", "nats per token", "lower"),
    Column("forgetting", "loss minus base_loss, on texts", "nats per token", "lower"),
    Column("ci_low", "lower end of the paired 95 % interval over items", "nats per token"),
    Column("ci_high", "upper end of the paired 95 % interval over items", "nats per token"),
    Column("base_accuracy", "share of questions answered right by the base, or mean score of "
           "documents of lm-evaluation-harness", "1", "higher"),
    Column("accuracy", "share of questions answered right by the tuned model", "1", "higher"),
    Column("accuracy_change", "accuracy minus base_accuracy", "1", "higher"),
    Column("accuracy_ci_low", "lower end of its paired 95 % interval over questions", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("lost", "share of questions that the base answers right and the tuned model wrong "
           "(1→0)", "1", "lower"),
    Column("gained", "share that the base answers wrong and the tuned model right (0→1)", "1",
           "higher"),
    Column("lost_beyond_guessing", "lost minus the share expected by guessing", "1", "lower"),
    Column("gained_beyond_guessing", "gained minus the share expected by guessing", "1", "higher"),
    Column("flips_p_value", "two-sided p that losses and gains are equally likely (McNemar's exact "
           "test)", "1"),
    Column("base_accuracy_per_byte", "base accuracy by log-probability per byte", "1", "higher"),
    Column("accuracy_per_byte", "tuned accuracy by log-probability per byte", "1", "higher"),
    Column("kl", "KL(base || tuned) of the next token", "nats per token", "lower"),
    Column("kl_ci_low", "lower end of its 95 % interval over texts", "nats per token"),
    Column("kl_ci_high", "upper end of this interval", "nats per token"),
    Column("n_items", "number of texts or questions"),
    Column("n_tokens", "number of predicted or masked tokens; missing for questions"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Forgetting: increase of the loss on general text (bars: 95 % interval over texts)",
        low="ci_low",
        high="ci_high",
        each="suite",
    ),
    Chart(
        "points",
        x="configuration",
        y="accuracy_change",
        title="Questions answered right, tuned minus base (bars: 95 % interval over questions)",
        low="accuracy_ci_low",
        high="accuracy_ci_high",
        each="suite",
    ),
    Chart(
        "line",
        x="step",
        y="forgetting",
        title="Increase of the loss on general text during training",
        low="ci_low",
        high="ci_high",
        each="suite",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and suite.

    Raises:
        NotApplicable: no item could be scored.
    """
    options = {"forgetting": asdict(config)}
    found = probe_runner.run_probe(context, run, "forgetting_items", options).frame
    items = measured(found)
    if items.empty:
        raise NotApplicable(str(found["reason"].iloc[0]))
    rows = [
        {"step": step, "suite": suite} | _row(group)
        for (step, suite), group in items.groupby(["step", "suite"], sort=False)
    ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"n_tokens": "Int64"} | dict.fromkeys(_FLOATS, "Float64"))


_FLOATS = [c.name for c in COLUMNS if c.unit is not None]


def _row(items: pd.DataFrame) -> dict[str, Any]:
    text = items["right"].isna().all()
    tokens = items["tokens"].astype(float) if text else pd.Series(1.0, index=items.index)
    row: dict[str, Any] = {
        # a suite of lm-evaluation-harness has no losses
        "base_loss": items["base_loss"].sum(min_count=1) / tokens.sum(),
        "loss": items["loss"].sum(min_count=1) / tokens.sum(),
        "n_items": len(items),
    }
    if text:
        row |= {"n_tokens": int(tokens.sum())}
        row |= _mean("forgetting", "", items["loss"] - items["base_loss"], tokens)
    else:
        row |= {"base_accuracy": items["base_right"].mean(), "accuracy": items["right"].mean()}
        row |= _mean("accuracy_change", "accuracy_", items["right"] - items["base_right"], tokens)
        row |= _flips(items)
        row["base_accuracy_per_byte"] = items["base_right_per_byte"].mean()
        row["accuracy_per_byte"] = items["right_per_byte"].mean()
    if items["kl"].notna().all():
        row |= _mean("kl", "kl_", items["kl"], tokens)
    return row


def _flips(items: pd.DataFrame) -> dict[str, float]:
    """Count answers lost and gained; scores between right and wrong have no flips."""
    before, after = (items[name].to_numpy(float) for name in ("base_right", "right"))
    if not (np.isin(before, (0, 1)) & np.isin(after, (0, 1))).all():
        return {}
    options = items["options"].to_numpy(float, na_value=np.nan)
    known = bool((options >= 2).all())
    found = answer_flips(before, after, options if known else None)
    row = {"lost": found.lost, "gained": found.gained, "flips_p_value": found.p_value}
    if found.by_guessing is not None:
        row["lost_beyond_guessing"] = found.lost - found.by_guessing
        row["gained_beyond_guessing"] = found.gained - found.by_guessing
    return row


def _mean(name: str, prefix: str, values: pd.Series, tokens: pd.Series) -> dict[str, float | None]:
    """Compute a mean over tokens with its interval over items, as columns."""
    array = values.to_numpy(float)
    interval: Interval = ratio_interval(array, tokens, np.random.default_rng(0))
    mean = array.sum() / tokens.sum()
    return {name: mean, f"{prefix}ci_low": interval.low, f"{prefix}ci_high": interval.high}

"""What training cost elsewhere: the loss on general text before and after.

The baseline is the base model itself. Both losses run over the same batches, so a method that
starts as the identity has forgotten exactly nothing at step 0. Padding and virtual tokens are never
counted, and a text's first token, which nothing predicts, is left out.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.encoding import Encoder, Row
from peftlens.models.adapters import base_of, opened
from peftlens.models.base import resident
from peftlens.models.lending import lent
from peftlens.run import Run
from peftlens.scoring import log_probabilities
from peftlens.stats import ratio_interval
from peftlens.table import Chart, Column
from peftlens.tasks import load_task

REQUIRES = frozenset()
VERSION = 1
MAX_LENGTH = 256  # tokens of a line; the longest of wiki's has fewer
COLUMNS = (
    Column("step", "training steps so far"),
    Column("base_loss", "loss of the base model on encyclopedia text", "nats per token", "lower"),
    Column("loss", "loss of the tuned model on the same text", "nats per token", "lower"),
    Column("forgetting", "loss − base_loss", "nats per token", "lower"),
    Column("low", "lower end of the paired 95 % interval over lines", "nats per token"),
    Column("high", "upper end of the paired 95 % interval over lines", "nats per token"),
    Column("n_items", "lines of text"),
    Column("n_tokens", "predicted tokens"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="forgetting",
        title="Forgetting: rise of the loss on encyclopedia text (bars: 95 % interval over lines)",
        low="low",
        high="high",
    ),
)


def measure(run: Run) -> pd.DataFrame:
    """One row per checkpoint and one for the end, on the test split of `wiki` (200 lines)."""
    base = base_of(run)
    base_losses, tokens = _base_losses(base.reference, base.device, base.dtype, base.sha256)
    rows = []
    for step in run.steps:
        with opened(run, step) as (model, _):
            encoder = Encoder.of(base, MAX_LENGTH)
            losses = -log_probabilities(model, encoder, _rows(encoder), "Loss on general text")
        interval = ratio_interval(losses - base_losses, tokens, np.random.default_rng(0))
        rows.append(
            {
                "step": step,
                "base_loss": base_losses.sum() / tokens.sum(),
                "loss": losses.sum() / tokens.sum(),
                "forgetting": (losses - base_losses).sum() / tokens.sum(),
                "low": interval.low,
                "high": interval.high,
                "n_items": len(losses),
                "n_tokens": int(tokens.sum()),
            }
        )
    return pd.DataFrame(rows)


def _rows(encoder: Encoder) -> list[Row]:
    items, _ = encoder.items(load_task("wiki", {}).splits["test"])
    return [item.rows[0] for item in items]


@lru_cache(maxsize=2)
def _base_losses(
    reference: str,
    device: str,
    dtype: str,
    sha256: str,  # noqa: ARG001  # a key only: the folder's files may change
) -> tuple[NDArray, NDArray]:
    """Summed loss and number of predicted tokens of each line, for the base; once per process."""
    base = resident(reference, device=device, dtype=dtype)  # pyright: ignore[reportArgumentType]
    with lent(base.model) as model:
        encoder = Encoder.of(base, MAX_LENGTH)
        rows = _rows(encoder)
        losses = -log_probabilities(model, encoder, rows, "Loss of the base on general text")
    return losses, np.array([row.scored for row in rows])

"""Memorization: whether the model tells rows of its training from held-out rows of the same task.

A score that is higher for rows of the training is a membership inference attack; its AUC is the
probability that a trained row has a higher one than a held-out row, 0.5 if nothing was memorized.
The scores: minus the loss (Yeom et al. 2018, arXiv:1709.01604, section 3.2), and Min-K%, the mean
log-probability of the least likely tokens (Shi et al. 2023, arXiv:2310.16789). Rows differ in
difficulty, so each score is also taken relative to the base's own (Watson et al. 2021,
arXiv:2111.08440). The split is random, so the base's own AUC is 0.5 but for chance: it is shown as
a control. Members are the rows that the training has used until its last step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator, training_batches
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.data.trained_task import trained_task
from peftlens.errors import require
from peftlens.evaluation.token_losses import min_k, token_losses
from peftlens.models.snapshot import restored_after
from peftlens.numerics.auc import auc
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # a pass over hundreds of rows at each saved step


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        items: maximum number of trained rows, and of held-out rows.
        share: share of a row's tokens in Min-K%.
    """

    items: int = 300
    share: float = 0.2


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("score", "loss or min_k"),
    Column("calibrated", "whether the base's own score is subtracted"),
    Column("auc", "probability that a trained row has a higher score than a held-out row", "1",
           "lower"),
    Column("ci_low", "lower end of its 95 % interval over rows", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("base_auc", "the same by the base's own score", "1"),
    Column("trained_loss", "mean loss of the trained rows", "nats per token", "lower"),
    Column("held_out_loss", "mean loss of the held-out rows", "nats per token", "lower"),
    Column("n_trained", "number of trained rows"),
    Column("n_held_out", "number of held-out rows"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="auc",
        title="Trained rows told from held-out rows (AUC; bars: 95 % interval over rows)",
        low="ci_low",
        high="ci_high",
        each="score",
    ),
    Chart("line", x="step", y="auc", title="AUC during training", by="configuration",
          each="score"),
)  # fmt: skip


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and score, with and without calibration.

    Raises:
        NotApplicable: the rows of its training are unknown, or there are none.
        NotLanguageModelError: the base predicts no text.
    """
    require("items", config.items, 2)
    require("share", config.share, 1e-6, 1)
    base = context.base_model(run)
    base.require_text()
    collator = Collator.of(base, run.config.training.sequence_length)
    trained = _members(run, collator, config.items)
    held_out = _right_rows(collator, task_of(run).splits["test"][: config.items])
    rows = [*trained, *held_out]
    with restored_after(base.model) as model:
        of_base = _scores(model, collator, rows, config)
    found = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            own = _scores(model, collator, rows, config)
        found += [{"step": step} | one for one in _attacks(own, of_base, len(trained))]
    counts = {"n_trained": len(trained), "n_held_out": len(held_out)}
    frame = pd.DataFrame(found).assign(**counts)
    return frame[[column.name for column in COLUMNS]]


def _members(run: TrainedModel, collator: Collator, items: int) -> list[TokenizedAnswer]:
    """Return rows that the training has used, without canaries, in a random order."""
    if not run.is_reproducible:
        raise NotApplicable("the rows of its training are not recorded")
    if run.config.training.shuffle_labels:
        raise NotApplicable("its rows have shuffled answers, and held-out ones the right answers")
    training, published = run.config.training, task_of(run)
    rows = _right_rows(collator, trained_task(published, run.config).splits["train"])
    batches = training_batches(rows, training.batch_size, np.random.default_rng(run.config.seed))
    taken = training.max_steps * training.gradient_accumulation_steps
    used = {row for batch in islice(batches, taken) for row in batch}
    own = trained_task(published, run.config, canaries=False).splits["train"]
    members = [row for row in _right_rows(collator, own) if row in used]
    if len(members) < 2:
        raise NotApplicable("nothing was trained")
    order = np.random.default_rng(0).permutation(len(members))
    return [members[index] for index in order[:items]]


def _right_rows(collator: Collator, examples: Sequence[Example]) -> list[TokenizedAnswer]:
    return [item.rows[item.correct] for item in collator.items(examples)[0]]


def _scores(
    model: nn.Module, collator: Collator, rows: Sequence[TokenizedAnswer], config: Config
) -> dict[str, NDArray[np.float64]]:
    """Compute both scores of each row, higher for a more likely one, shape (rows,) each."""
    losses = token_losses(model, collator, rows, "Scoring trained and held-out rows")
    return {
        "loss": np.array([-one.mean() for one in losses]),
        "min_k": np.array([min_k(one, config.share) for one in losses]),
    }


def _attacks(
    own: dict[str, NDArray[np.float64]], of_base: dict[str, NDArray[np.float64]], n: int
) -> list[dict[str, object]]:
    """Compute the AUC of each score; the first n rows are those of the training."""
    losses = {"trained_loss": -own["loss"][:n].mean(), "held_out_loss": -own["loss"][n:].mean()}
    rows = []
    for score, values in own.items():
        control = auc(of_base[score][:n], of_base[score][n:]).value
        for calibrated in (False, True):
            shown = values - of_base[score] if calibrated else values
            found = auc(shown[:n], shown[n:])
            rows.append(
                {"score": score, "calibrated": calibrated, "auc": found.value,
                 "ci_low": found.interval.low, "ci_high": found.interval.high,
                 "base_auc": control, **losses}
            )  # fmt: skip
    return rows

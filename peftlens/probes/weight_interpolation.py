"""Accuracy and forgetting of interpolations between the base's and the tuned weights.

The interpolated weights are W0 + α ΔW: the base at α = 0, the tuned model at 1. It needs no
training, so it is the cheapest remedy for forgetting. Source: Wortsman et al. 2022,
arXiv:2109.01903 (WiSE-FT), section 3. Computed in float32, whatever the run's dtype.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.adapters.merging import merged_weights
from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.errors import InputError
from peftlens.evaluation.keep_text import require_apart
from peftlens.evaluation.log_likelihood import choose
from peftlens.evaluation.retention import reference, scores, suite
from peftlens.models.base_model import in_float32
from peftlens.models.snapshot import restored_after, with_weights
from peftlens.numerics.resampling import mean_interval, ratio_interval
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset({"delta_weight"})
VERSION = 3
OPTIONAL = True  # six scorings of every run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        scales: values of α.
        items: maximum number of test examples of the task; 0 for all.
    """

    scales: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    items: int = 200


COLUMNS = (
    Column("scale", "α in W0 + α ΔW: 0 is the base, 1 the tuned model", "1"),
    Column("accuracy", "share of the task's test examples answered right", "1", "higher"),
    Column("accuracy_ci_low", "lower end of its 95 % interval over examples", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("loss", "loss of the right answers", "nats per token", "lower"),
    Column(
        "forgetting",
        "increase of the loss on the running text `passages_short`",
        "nats per token",
        "lower",
    ),
    Column("ci_low", "lower end of its paired 95 % interval over texts", "nats per token"),
    Column("ci_high", "upper end of this interval", "nats per token"),
    Column("kl", "KL(base || scaled) of the next token on the text", "nats per token", "lower"),
    Column("n_items", "number of test examples"),
)
CHARTS = (
    Chart(
        "line",
        x="forgetting",
        y="accuracy",
        title="Accuracy against forgetting, as the update is scaled",
        low="accuracy_ci_low",
        high="accuracy_ci_high",
        text="scale",
        each="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per α, at the end of training."""
    base = in_float32(context.base_model(run))
    with restored_after(base.model):
        try:
            tuned = merged_weights(run, base)
        except InputError as error:
            raise NotApplicable(str(error)) from error
    require_apart(run, {"passages_short": {}})
    texts = suite(base, "passages_short", {}, None)
    baseline = reference(base, texts)
    encoder = Collator.of(base, run.config.training.sequence_length)
    items, _ = encoder.items(task_of(run).splits["test"][: config.items or None])
    rows = []
    for scale in config.scales:
        with _between(base.model, tuned, scale) as model:
            retained = scores(model, base, texts, baseline)
            choices = choose(model, encoder, items, f"Scoring with α = {scale:g}")
        change, right = retained.loss - baseline.scores.loss, choices.by_sum == choices.correct
        paired = ratio_interval(change, retained.tokens, np.random.default_rng(0))
        accuracy = mean_interval(right, np.random.default_rng(0))
        rows.append(
            {
                "scale": scale,
                "accuracy": right.mean(),
                "accuracy_ci_low": accuracy.low,
                "accuracy_ci_high": accuracy.high,
                "loss": choices.loss.mean(),
                "forgetting": change.sum() / retained.tokens.sum(),
                "ci_low": paired.low,
                "ci_high": paired.high,
                "kl": None if retained.kl is None else retained.kl.sum() / retained.tokens.sum(),
                "n_items": len(items),
            }
        )
    frame = pd.DataFrame(rows)
    if not task_of(run).has_choices:
        frame[["accuracy", "accuracy_ci_low", "accuracy_ci_high"]] = None
    return frame


@contextmanager
def _between(
    model: PreTrainedModel, tuned: dict[str, torch.Tensor], scale: float
) -> Iterator[nn.Module]:
    """Set the model's weights to W0 + α (W - W0), and restore them afterwards."""
    original = model.state_dict()
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    mixed = {
        name: original[name] + scale * (tuned[name] - original[name])
        for name in names
        if not torch.equal(original[name], tuned[name])
    }
    with with_weights(model, mixed):
        yield model

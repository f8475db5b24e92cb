"""What is left of an adapter's effect once it is merged and rounded to the precision of serving.

The update is merged in float32 and the weights are rounded to bfloat16, float16, int8 or NF4, which
is then compared with the attached adapter. Rounding changes predictions with or without an update,
so *erased* is judged by the effect of merging between two rounded models, with the update and
without it: its agreement with the adapter's own effect is the cosine between their changes of
log-probabilities, in the Fisher metric. Erased means that the interval of the agreement lies below
0.5, so that less than a quarter of the change's square is the adapter's; kept, that it lies above.
int8 and NF4 apply to the linear layers of the blocks. Computed in float32, whatever the run's
dtype.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.rounded_weights import UpdatedWeights, updated_weights
from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.diffing.rounded_predictions import EffectLeft, RoundedReading, effects_left
from peftlens.diffing.token_divergence import BaseReading
from peftlens.errors import InputError, require
from peftlens.evaluation.log_likelihood import choose
from peftlens.evaluation.retention import MAX_LENGTH, suite
from peftlens.models.base_model import BaseModel, in_float32
from peftlens.models.snapshot import with_weights
from peftlens.models.weight_precision import PRECISIONS, Precision
from peftlens.numerics.resampling import ratio_interval
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # a dozen passes over the texts of every run
_HALF = 0.5  # agreement below which the effect is erased


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        precisions: precisions of the merged weights: float32, bfloat16, float16, int8, nf4.
        texts: number of general texts, of the suite `passages_short`.
        items: maximum number of test examples of the task.
    """

    precisions: tuple[Precision, ...] = PRECISIONS
    texts: int = 12
    items: int = 60


COLUMNS = (
    Column("precision", "precision of the merged weights"),
    Column("text", "text on which predictions are compared: general, or right answers of the "
           "task's test examples"),
    Column("kl", "KL(attached || merged in this precision)", "nats per token", "lower"),
    Column("kl_ci_low", "lower end of its 95 % interval over texts", "nats per token"),
    Column("kl_ci_high", "upper end of this interval", "nats per token"),
    Column("kl_without_update", "KL(attached || base in this precision)", "nats per token"),
    Column("agreement", "cosine between the effect of merging in this precision and the attached "
           "adapter's effect", "1", "higher"),
    Column("ci_low", "lower end of its 95 % interval over texts", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("effect_left", "effect of merging in this precision along the adapter's, as a share of "
           "it", "1"),
    Column("verdict", "kept, erased or undecided; none where the adapter has no effect"),
    Column("accuracy", "share of the test examples answered right", "1", "higher"),
    Column("attached_accuracy", "the same with the adapter attached", "1", "higher"),
    Column("flips", "share of the test examples with another answer than the attached adapter's",
           "1", "lower"),
    Column("n_items", "number of texts"),
    Column("n_tokens", "number of tokens"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="agreement",
        title="Agreement of the merged update's effect with the adapter's (bars: 95 % interval)",
        low="ci_low",
        high="ci_high",
        each="precision",
    ),
)


@dataclass(frozen=True)
class _Texts:
    """Texts of one kind.

    Attributes:
        name: general or task.
        rows: the texts as token ids.
        items: test examples of which answers are chosen; empty if there is nothing to choose.
    """

    name: str
    rows: Sequence[TokenizedAnswer]
    items: Sequence[TokenizedExample] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per precision and kind of text, at the end of training.

    Raises:
        NotApplicable: the base is quantized, or the run can't be merged into it.
    """
    for name in ("texts", "items"):
        require(name, getattr(config, name), 1)
    try:
        base = in_float32(context.base_model(run))
    except InputError as error:
        raise NotApplicable(str(error)) from error
    base.require_text()
    weights = updated_weights(run, base)
    rows = [
        row
        for texts in _texts(run, base, config)
        for row in _rows(run, base, weights, texts, config)
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS]).astype(
        {column.name: "Float64" for column in COLUMNS if column.unit}
    )


def _texts(run: TrainedModel, base: BaseModel, config: Config) -> Iterator[_Texts]:
    general = suite(base, "passages_short", {}, config.texts)
    yield _Texts("general", [item.rows[0] for item in general.items])
    if run.task is None:
        return
    task = task_of(run)
    examples = task.splits["test"][: config.items]
    items, _ = Collator.of(base, MAX_LENGTH).items(examples)
    rows = [item.rows[item.correct] for item in items]
    yield _Texts("task", rows, items if task.has_choices else ())


def _rows(
    run: TrainedModel, base: BaseModel, weights: UpdatedWeights, texts: _Texts, config: Config
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one kind of text."""
    encoder = Collator.of(base, MAX_LENGTH)
    readings, choices = [], []
    for precision in config.precisions:
        with with_weights(base.model, weights.in_precision(weights.before, precision)):
            before = BaseReading.of(base, texts.rows)
        with with_weights(base.model, weights.in_precision(weights.after, precision)) as model:
            readings.append(RoundedReading(before, BaseReading.of(base, texts.rows)))
            choices.append(choose(model, encoder, texts.items) if texts.items else None)
    with with_weights(base.model, weights.before):
        own = BaseReading.of(base, texts.rows)
    with open_run(run, base) as model:
        effects = effects_left(model, base, own, readings)
        attached = choose(model, encoder, texts.items) if texts.items else None
    for precision, effect, chosen in zip(config.precisions, effects, choices, strict=True):
        row = {"precision": precision, "text": texts.name} | _effect(effect)
        if attached and chosen:
            right = chosen.by_sum == chosen.correct, attached.by_sum == attached.correct
            row |= {"accuracy": right[0].mean(), "attached_accuracy": right[1].mean()}
            row["flips"] = (chosen.by_sum != attached.by_sum).mean()
        yield row


def _effect(found: EffectLeft) -> dict[str, Any]:
    """Summarize a comparison over its texts."""
    total = found.tokens.sum()
    kl = ratio_interval(found.kl, found.tokens, np.random.default_rng(0))
    row: dict[str, Any] = {
        "kl": found.kl.sum() / total, "kl_ci_low": kl.low, "kl_ci_high": kl.high,
        "kl_without_update": found.kl_before.sum() / total,
        "n_items": len(found.tokens), "n_tokens": int(total),
    }  # fmt: skip
    if not found.effect.sum() > 0:
        return row
    interval = found.agreement_interval(np.random.default_rng(0))
    row |= {"agreement": found.agreement, "ci_low": interval.low, "ci_high": interval.high}
    return row | {"effect_left": found.share, "verdict": _verdict(interval.low, interval.high)}


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "undecided"
    return "erased" if high < _HALF else "kept" if low >= _HALF else "undecided"

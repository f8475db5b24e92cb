"""Forecast of a run's operations from its configuration and a sample of its rows, in milliseconds.

It decides which run of a study is begun first; `estimate` measures what a study costs.
"""

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

from peftlens import registry
from peftlens.data.collate import Collator, length
from peftlens.data.tokenization import TokenizedExample
from peftlens.errors import InputError
from peftlens.models.architecture import blocks
from peftlens.models.target_modules import Shapes
from peftlens.runs.config import TrainingConfig
from peftlens.studies.plan import Forecast
from peftlens.training.run_plan import RunPlan

_SAMPLE = 100  # training examples that are measured; their order in a split is random
# What a step takes beside its products, as the operations of products that take as long: small
# operations of each block, and the optimizer's reading and writing for each trained parameter.
# Between a processor without AMX and one with it, whose products are ten times as fast.
_BLOCK = 5e8
_TRAINED = 500


def forecast(planned: RunPlan, probes: Iterable[str]) -> Forecast:
    """Forecast the operations of training and of scoring a run.

    Tokens that a method puts before each input count; what else it computes, and what it saves
    where only upper blocks are trained, does not. A small model's steps take most of their time
    beside the products, which counts as operations, too.

    Args:
        planned: run to forecast.
        probes: names of the study's probes that measure each run.
    """
    config, splits = planned.config, planned.task.splits
    training, sizes = config.training, _row_sizes(planned)
    exposed = registry.exposed(config.method, config.method_config)
    added = _added_tokens(planned, exposed)
    parameters = planned.base.derived("block parameters", lambda: block_parameters(planned.shapes))
    forward = 2 * parameters  # per token
    scored = forward * (sizes.scored + added)  # per example
    rows = training.max_steps * training.gradient_accumulation_steps * training.batch_size
    trained = planned.method.trainable_parameters(planned.method_config, planned.shapes) or 0
    tokens = rows * (sizes.trained + added)
    return Forecast(
        training=tokens * operations_per_token(parameters, trained)
        + scored * len(splits["validation"]),
        beside=beside_products(training, planned.shapes, trained),
        scoring=scored * len(splits["test"]) * (1 + len(training.checkpoint_steps)),
        inapplicable=frozenset(
            probe for probe in probes if registry.load("probes", probe).REQUIRES - exposed
        ),
    )


def operations_per_token(parameters: int, trained: int) -> int:
    """Return the floating-point operations of a training step per token: 4 N + 2 T.

    2 N for the forward pass and 2 N for the gradients of the activations, where N is the number of
    parameters of the blocks; 2 T for the gradients of the T trained parameters. With T = N that is
    the usual 6 N (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). Attention scores and the
    output head, which reads only answer tokens, are left out.

    Args:
        parameters: N, see `block_parameters`.
        trained: T.
    """
    return 4 * parameters + 2 * trained


def beside_products(training: TrainingConfig, shapes: Shapes, trained: int) -> float:
    """Return the operations of products that would take as long as the rest of the training.

    Args:
        training: hyperparameters of training.
        shapes: shapes of the base's parameters.
        trained: number of trained parameters.
    """
    try:
        n_blocks = len(blocks(shapes))
    except InputError:
        n_blocks = 1
    passes = training.max_steps * training.gradient_accumulation_steps
    return passes * _BLOCK * n_blocks + training.max_steps * _TRAINED * trained


def block_parameters(shapes: Shapes) -> int:
    """Count the parameters of the transformer blocks; of all where blocks are not recognized."""
    try:
        inside = tuple(f"{block}." for block in blocks(shapes))
    except InputError:
        inside = ("",)
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(inside))


@dataclass(frozen=True)
class _RowSizes:
    """Mean numbers of tokens.

    Attributes:
        trained: tokens of a row of training.
        scored: tokens of an example with its candidate answers, whose prompt is read once.
    """

    trained: float
    scored: float


def _row_sizes(planned: RunPlan) -> _RowSizes:
    """Measure a sample of the training rows, once for all runs on the same data."""
    training = planned.config.training
    key = planned.depends_on["data"], training.sequence_length, training.loss
    return planned.base.derived("row sizes", lambda: _measured(planned), key=key, most=64)


def _measured(planned: RunPlan) -> _RowSizes:
    training, found = planned.config.training, list[TokenizedExample]()
    with suppress(InputError):  # the run itself tells that its data can't be tokenized
        collator = Collator.of(planned.base, training.sequence_length)
        found, _ = collator.items(planned.task.splits["train"][:_SAMPLE])
    if not found:
        return _RowSizes(training.sequence_length, training.sequence_length)
    pairs = training.loss == "dpo"
    return _RowSizes(
        trained=fmean(
            sum(map(length, one.rows)) if pairs else length(one.rows[one.correct]) for one in found
        ),
        scored=fmean(
            len(one.rows[0].prompt) + sum(len(row.answer) for row in one.rows) for one in found
        ),
    )


def _added_tokens(planned: RunPlan, exposed: frozenset[str]) -> int:
    """Return the number of tokens before each input, virtual ones and those of a fixed text."""
    values = planned.config.method_config
    fixed = len(values.get("token_ids", ()))
    if fixed or "soft_prompt" not in exposed:
        return fixed
    options = values.get("options", {})  # of a method of peft that has no file
    return int(values.get("num_virtual_tokens", options.get("num_virtual_tokens", 0)))

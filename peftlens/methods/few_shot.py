"""Few-shot: k training examples with their answers in front of every input; nothing is trained.

Source: Brown et al. 2020, arXiv:2005.14165, section 2. The examples are drawn by the run's seed,
and are the same for every input.
"""

import random
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError, require
from peftlens.layers.prepend import prepend_tokens
from peftlens.models.architecture import freeze
from peftlens.models.target_modules import Shapes

FAMILY = "baseline"
FORMULA = "y = f([x₁; y₁; …; x_k; y_k; x])"
EXPOSES = frozenset()
UNMERGEABLE = "it changes the input and no weight"
NO_HEAD = "it trains nothing, and a new head has to be trained; use head"
LEARNING_RATE = 0.0  # nothing is trained


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options.

    Attributes:
        shots: k, the number of examples.
        separator: text between examples, and before the input.
        token_ids: token ids of the prompt, filled in from the examples.
    """

    shots: int = 4
    separator: str = "\n\n"
    token_ids: tuple[int, ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Draw the examples and turn them into token ids.

    Raises:
        InputError: the task has no questions with answers, or fewer than k for training.
    """
    pool = context.task.splits["train"]
    if context.task.kind == "language_modeling" or context.task.has_chats:
        raise InputError(
            "few_shot needs questions with answers; "
            f"{context.task.name!r} has texts or conversations"
        )
    require("shots", config.shots, 1, len(pool), "the number of training examples")
    drawn = random.Random(context.seed).sample(pool, config.shots)
    shown = [f"{one.prompt}{one.answers[one.correct]}{config.separator}" for one in drawn]
    return replace(config, token_ids=tuple(context.token_ids("".join(shown))))


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the examples to every input."""
    freeze(model)
    prepend_tokens(model, config.token_ids)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """Zero."""
    return 0

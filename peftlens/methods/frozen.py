"""Base model before training: the zero-shot baseline that every method is compared with."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import freeze
from peftlens.models.target_modules import Shapes

FAMILY = "baseline"
FORMULA = "y = f(x)"
EXPOSES = frozenset()
UNMERGEABLE = "it trains nothing"
LEARNING_RATE = 0.0  # nothing is trained


@dataclass(frozen=True, kw_only=True)
class Config:
    """No hyperparameters."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:  # noqa: ARG001
    """Freeze `model` in place and add nothing."""
    freeze(model)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """Zero."""
    return 0

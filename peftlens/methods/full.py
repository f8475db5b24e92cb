"""Full fine-tuning: every weight is trained. The baseline of cost and of forgetting.

Learning rate: the best of four on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8
examples).
"""

from dataclasses import dataclass
from math import prod

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.architecture import thaw
from peftlens.models.target_modules import Shapes

FAMILY = "baseline"
FORMULA = "θ' = θ + Δθ"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """No hyperparameters."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:  # noqa: ARG001
    """Replace every weight by a trainable copy; the logits at the start equal the base model's."""
    thaw(model, shapes_of(model))
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """Every parameter; a weight shared by two modules counts once."""
    return sum(prod(shape) for shape in shapes.values())

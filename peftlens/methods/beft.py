"""BEFT: train only the biases of some linear layers, mainly the value projections.

Source: arXiv:2509.15974. Layers: peft.BeftConfig. Layers without a bias get one, and then can't be
merged. The paper finds the value projections best. Learning rate: that of peft's example, 63 steps
of 8 examples (examples/beft_finetuning).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "selective"
FORMULA = "y = W x + b"
EXPOSES = frozenset({"delta_weight"})
MERGES_IF = "the base has biases there"
LEARNING_RATE = 8e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and give each target layer a trained bias that starts at zero.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.BeftConfig,
        config.target_modules,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_out for each adapted matrix.

    Raises:
        InputError: a target matches nothing.
    """
    return sum(d_out for d_out, _ in linear_layers(shapes, config.target_modules).values())

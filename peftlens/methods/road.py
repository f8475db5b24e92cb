"""RoAd: rotate and stretch pairs of each layer's outputs.

Source: Liao & Monz 2024, arXiv:2409.00119. Layers: peft.RoadConfig, variant road_1: one angle and
one length per pair of outputs. Learning rate: what peft's example recommends
(examples/road_finetuning).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError, require, require_divisor
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "y = R (W x),  R rotates and stretches pairs of outputs"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        group_size: size of the groups within which outputs are paired; must divide all outputs.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    group_size: int = 64
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and rotate each target layer's outputs, by zero at first.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.RoadConfig,
        config.target_modules,
        variant="road_1",
        group_size=config.group_size,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_out for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = linear_layers(shapes, config.target_modules).values()
    require("group_size", config.group_size, 2)
    if config.group_size % 2:
        raise InputError(f"group_size={config.group_size} must be even: outputs turn in pairs")
    outputs = (d_out for d_out, _ in layers)
    require_divisor("group_size", config.group_size, outputs, "the outputs of a target layer")
    return sum(d_out for d_out, _ in layers)

"""MiSS: one small trained matrix for each weight, shared by groups of its inputs.

The inputs are split into groups of r and summed, and a matrix (r, d_out) maps the sum. Source: Kang
& Yin 2024, arXiv:2409.15371 (first published as Bone). Layers: peft.MissConfig.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "y = W x + Dᵀ S x,  S adds up groups of r inputs"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: r, the number of inputs after summing.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 16
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a matrix of zeros to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.MissConfig,
        config.target_modules,
        r=config.rank,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r d_out for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    return sum(
        config.rank * d_out for d_out, _ in adapted(config.rank, config.target_modules, shapes)
    )

"""HRA: rotate each weight by a chain of r trained reflections.

W' = W H₁ … H_r with Householder matrices H. Source: Yuan, Liu & Xu 2024, arXiv:2405.17484. Layers:
peft.HRAConfig. Learning rate: the authors' for DeBERTaV3-base on SST-2 (DaShenZi721/HRA).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W H₁ … H_r,  Hᵢ = I − 2 uᵢ uᵢᵀ / ‖uᵢ‖²"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 6e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: r, the number of reflections; even, so that they can start as pairs that cancel.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and put reflections before each target layer.

    They start in equal pairs, so the logits equal the base model's up to rounding.
    """
    return wrap(
        model,
        peft.HRAConfig,
        config.target_modules,
        r=config.rank,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r d_in for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = adapted(config.rank, config.target_modules, shapes)
    if config.rank % 2:
        raise InputError(f"rank={config.rank} must be even: reflections start as pairs that cancel")
    return sum(config.rank * d_in for _, d_in in layers)

"""TinyLoRA: a few trained numbers for each layer, expanded by frozen random matrices.

They weight the top singular directions of the base weight. Source: arXiv:2602.04118. Layers:
peft.TinyLoraConfig.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + U S (Σᵢ vᵢ Pᵢ) Vᵀ,  U, S, V of the top singular directions of W, Pᵢ random"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        vector_size: u, the number of trained numbers per layer.
        rank: r, the number of singular directions used of each weight.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    vector_size: int = 64
    rank: int = 2
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and give each target layer u numbers that start at almost zero.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.TinyLoraConfig,
        config.target_modules,
        r=config.rank,
        u=config.vector_size,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """u for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require("vector_size", config.vector_size, 1)
    layers = adapted(config.rank, config.target_modules, shapes)
    return config.vector_size * len(layers)

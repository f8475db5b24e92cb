"""OFT: rotate each weight by a block-diagonal orthogonal matrix.

W' = W R with R block-diagonal and orthogonal by Cayley's transform. Source: Qiu et al. 2023,
arXiv:2306.07280. Layers: peft.OFTConfig.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require, require_divisor
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = W R,  R orthogonal and block-diagonal"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        block_size: b, the size of a block; must divide the inputs of every target layer.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    block_size: int = 32
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and put a rotation, the identity at first, before each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.OFTConfig,
        config.target_modules,
        oft_block_size=config.block_size,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """b (b - 1) / 2 for each of the d_in / b blocks of each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    b, layers = config.block_size, linear_layers(shapes, config.target_modules).values()
    require("block_size", b, 2)
    require_divisor("block_size", b, (d_in for _, d_in in layers), "the inputs of a target layer")
    return sum(d_in // b * (b * (b - 1) // 2) for _, d_in in layers)

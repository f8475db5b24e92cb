"""C3A: an update of circulant blocks, multiplied by circular convolution.

Source: Chen et al. 2024, arXiv:2407.19342. Layers: peft.C3AConfig. The kernels start at zero
here, so that the model starts as the base.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require, require_divisor
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = W + C,  each block (b, b) of C circulant"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        block_size: b, the length of a kernel; must divide both sides of every adapted matrix.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    block_size: int = 64
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add circulant blocks of zeros to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.C3AConfig,
        config.target_modules,
        block_size=config.block_size,
        init_weights=True,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_out d_in / b for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = linear_layers(shapes, config.target_modules).values()
    require("block_size", config.block_size, 1)
    sides = (side for shape in layers for side in shape)
    require_divisor("block_size", config.block_size, sides, "a side of an adapted matrix")
    return sum(d_out * d_in // config.block_size for d_out, d_in in layers)

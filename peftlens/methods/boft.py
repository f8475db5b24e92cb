"""BOFT: rotate each weight by a product of sparse orthogonal matrices (butterflies).

Source: Liu et al. 2023, arXiv:2311.06243. Layers: peft.BOFTConfig, with one butterfly
factor and a trained scale for each output.
"""

from dataclasses import dataclass

import peft
from peft.tuners.boft import layer as boft_layer
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require, require_divisor
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = diag(s) W R₁ … R_m,  each R_i orthogonal and block-diagonal after a permutation"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        block_size: b, the size of a block; must divide the inputs of every target layer.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    block_size: int = 4
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and put a rotation, the identity at first, before each target layer.

    The logits at the start equal the base model's.
    """
    # where a compiler exists, peft would build CUDA code here, and warn where that fails
    boft_layer._FBD_CUDA = False  # pyright: ignore[reportAttributeAccessIssue]
    return wrap(
        model,
        peft.BOFTConfig,
        config.target_modules,
        boft_block_size=config.block_size,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_in b for the blocks and d_out scales, for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    b, layers = config.block_size, linear_layers(shapes, config.target_modules).values()
    require("block_size", b, 2)
    require_divisor("block_size", b, (d_in for _, d_in in layers), "the inputs of a target layer")
    return sum(d_in * b + d_out for d_out, d_in in layers)

"""SuperTuning: train the entries of largest magnitude of each weight.

Source: arXiv:2607.09287. Layers: peft.SupertuningConfig. The share of trained entries is the same
in every weight; in `magnitude_mask` the entries of all weights compete.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "selective"
FORMULA = "W' = W + m ⊙ ΔW,  m = 1 where |W| is largest, in each weight"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        density: share of each weight's entries that are trained, between 0 and 1.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    density: float = 0.01
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a sparse update of zeros to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.SupertuningConfig,
        config.target_modules,
        sparsity=1 - config.density,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of entries in the given share of each adapted matrix, rounded down.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = linear_layers(shapes, config.target_modules).values()
    smallest = min(d_out * d_in for d_out, d_in in layers)
    require("density", config.density, 1 / smallest, 1, "a share; the lower bound is one entry")
    return sum(int(d_out * d_in * (1 - (1 - config.density))) for d_out, d_in in layers)

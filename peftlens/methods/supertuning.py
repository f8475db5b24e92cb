"""SuperTuning: train the entries of each weight that matter most by magnitude.

Source: arXiv:2607.09287. Layers: peft.SupertuningConfig. Every weight trains the same share of its
own entries; in `magnitude_mask` all weights compete.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.architecture import Shapes, linear_layers

FAMILY = "selective"
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
    """The share of each adapted matrix's entries, rounded down.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = linear_layers(shapes, config.target_modules).values()
    smallest = min(d_out * d_in for d_out, d_in in layers)
    require("density", config.density, 1 / smallest, 1, "a share; the lower bound is one entry")
    return sum(int(d_out * d_in * (1 - (1 - config.density))) for d_out, d_in in layers)

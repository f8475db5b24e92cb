"""FourierFT: train a few Fourier coefficients of each update.

W' = W + scale · the inverse transform of a matrix with n entries at random places. Source: Gao et
al. 2024, arXiv:2405.03003, section 3. Layers: peft.FourierFTConfig. The coefficients start at zero
here, so that the model starts as the base; the paper draws them. Learning rate: the authors' for
RoBERTa-base on SST-2, with as many coefficients and a scale of 140 (Chaos96/fourierft).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = W + scale · Re(IDFT₂(F)),  n entries of F are not 0"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_frequencies: n, the number of trained coefficients per layer.
        scale: factor on the inverse transform; dimensionless.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    num_frequencies: int = 1000
    scale: float = 150.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a spectrum of zeros to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.FourierFTConfig,
        config.target_modules,
        n_frequency=config.num_frequencies,
        scaling=config.scale,
        init_weights=True,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = linear_layers(shapes, config.target_modules).values()
    smallest = min(d_out * d_in for d_out, d_in in layers)
    why = "the entries of the smallest adapted matrix"
    require("num_frequencies", config.num_frequencies, 1, smallest, why)
    return config.num_frequencies * len(layers)

"""LoHa: an update that is the elementwise product of two low-rank matrices.

W' = W + (alpha / rank) (B₁ A₁) ⊙ (B₂ A₂), of rank up to r². Source: Hyeon-Woo, Ye-Bin & Oh 2021,
arXiv:2108.06098, section 2.2 (FedPara). Layers: peft.LoHaConfig.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require_positive
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / rank) (B₁ A₁) ⊙ (B₂ A₂)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of each of the two products.
        alpha: numerator of the scale alpha / rank; dimensionless.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add two low-rank products, one of them 0, to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.LoHaConfig,
        config.target_modules,
        r=config.rank,
        alpha=config.alpha,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """2 r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require_positive("alpha", config.alpha)
    return sum(
        2 * config.rank * sum(shape)
        for shape in adapted(config.rank, config.target_modules, shapes)
    )

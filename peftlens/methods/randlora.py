"""RandLoRA: a full-rank update, a trained mixture of frozen random low-rank matrices.

W' = W + scale Σ_j B_j diag(λ_j) A diag(γ_j). Source: Albert et al. 2025, arXiv:2502.00987.
Layers: peft.RandLoraConfig.
"""

import math
from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require_positive
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + scale Σⱼ Bⱼ diag(λⱼ) A diag(γⱼ)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: r, the rank of each random pair; a smaller r gives more pairs and trained numbers.
        alpha: numerator of the scale alpha / rank; dimensionless.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 32
    alpha: float = 640.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and mix shared random matrices for each target layer; λ starts at 0.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.RandLoraConfig,
        config.target_modules,
        r=config.rank,
        randlora_alpha=config.alpha,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """⌈m / r⌉ (r + m) for each adapted matrix, m its smaller side.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require_positive("alpha", config.alpha)
    layers = adapted(config.rank, config.target_modules, shapes)
    return sum(math.ceil(m / config.rank) * (config.rank + m) for m in map(min, layers))

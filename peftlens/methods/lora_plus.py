"""LoRA+: LoRA with a learning rate of B that is a fixed multiple of A's.

Source: Hayou, Ghosh & Yu 2024, arXiv:2402.12354. Optimizer:
peft.optimizers.create_loraplus_optimizer.
"""

from dataclasses import dataclass
from typing import cast

import peft
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / rank) B A,  the rate of B a multiple of A's"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA, and the ratio of its learning rates.

    Attributes:
        rate_ratio: learning rate of B over that of A.
    """

    rate_ratio: float = 16.0


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a trainable A and B, in float32, to each target layer.

    B starts at zero, so the wrapped model's logits equal the base model's.
    """
    return attach_lora(model, config)


def optimizer(
    model: nn.Module, config: Config, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW with `rate` for A and `rate_ratio` times that for B."""
    return create_loraplus_optimizer(
        cast("peft.PeftModel", model),
        torch.optim.AdamW,
        lr=rate,
        loraplus_lr_ratio=config.rate_ratio,
        loraplus_weight_decay=weight_decay,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: the rank, alpha or ratio is out of range, or a target matches nothing.
    """
    require("rate_ratio", config.rate_ratio, 1)
    return low_rank_parameters(config, shapes, experts=True)

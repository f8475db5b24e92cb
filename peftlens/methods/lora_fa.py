"""LoRA-FA: LoRA with A frozen at its random start; B's gradient is corrected for it.

Source: Zhang et al. 2023, arXiv:2308.03303, section 3. Optimizer:
peft.optimizers.create_lorafa_optimizer, which multiplies B's gradient by (A Aᵀ)⁻¹ / scale², the
best approximation of the full gradient within the frozen A.
"""

from dataclasses import dataclass
from typing import cast

import peft
import torch
from peft.optimizers import create_lorafa_optimizer
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require_positive
from peftlens.layers.low_rank import LowRank, adapted, attach_lora
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / rank) B A,  A frozen"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a frozen random A and a trainable B to each target layer.

    B starts at zero, so the wrapped model's logits equal the base model's.
    """
    wrapped = attach_lora(model, config)
    for name, parameter in wrapped.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)
    return wrapped


def optimizer(
    model: nn.Module, config: Config, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW on the corrected gradients of B."""
    return create_lorafa_optimizer(
        cast("peft.PeftModel", model),
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  # a float works too
        lr=rate,
        weight_decay=weight_decay,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r d_out for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    require_positive("alpha", config.alpha)
    return sum(
        config.rank * d_out for d_out, _ in adapted(config.rank, config.target_modules, shapes)
    )

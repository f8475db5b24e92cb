"""DeLoRA: LoRA whose strength is trained separately from its direction.

The rank-one parts of B A are normalized and scaled by λ ‖W‖ / r. Source: Bini, Girrbach & Akata
2025, arXiv:2503.18225. Layers: peft.DeloraConfig. Learning rate: that of peft's example
(examples/delora_finetuning).
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
FORMULA = "W' = W + (λ ‖W‖ / r) Σᵢ bᵢ aᵢᵀ / (‖bᵢ‖ ‖aᵢ‖)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of B (d_out, r) and A (r, d_in).
        strength: λ at the start.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    strength: float = 15.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a bounded update, zero at first, to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.DeloraConfig,
        config.target_modules,
        r=config.rank,
        delora_lambda=config.strength,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) + 1 for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require_positive("strength", config.strength)
    return sum(
        config.rank * sum(shape) + 1
        for shape in adapted(config.rank, config.target_modules, shapes)
    )

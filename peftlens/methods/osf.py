"""OSF: train each weight's small singular directions, kept orthogonal to its large, frozen ones.

Source: Nayak et al. 2025, arXiv:2504.07097 (orthogonal subspace fine-tuning, designed for continual
learning without forgetting). Layers: peft.OSFConfig. Learning rate: that of Hugging Face's
method_comparison (MetaMathQA, Llama-3.2-3B).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError, require
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "selective"
FORMULA = "W' = U_k S_k V_kᵀ + U S Vᵀ,  U ⟂ U_k and V ⟂ V_k"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-5


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        frozen_share: share of each weight's singular directions that are frozen, largest first.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    frozen_share: float = 0.5
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and split each target weight by its singular values.

    The logits at the start equal the base model's up to rounding.
    """
    return wrap(
        model,
        peft.OSFConfig,
        config.target_modules,
        effective_rank=config.frozen_share,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """(m - k) (d_out + d_in + 1) for each adapted matrix: m its smaller side, k frozen directions.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require("frozen_share", config.frozen_share, 0.01, 0.99)
    layers = linear_layers(shapes, config.target_modules).values()
    kept = [int(min(shape) * config.frozen_share) for shape in layers]
    if not all(kept):
        raise InputError(f"frozen_share={config.frozen_share} keeps no direction of some weight")
    return sum((min(shape) - k) * (sum(shape) + 1) for shape, k in zip(layers, kept, strict=True))

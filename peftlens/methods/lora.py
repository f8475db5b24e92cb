"""LoRA: train a low-rank update, W' = W + (alpha / rank) B A.

Source: Hu et al. 2021, arXiv:2106.09685, section 4.1. Layers: peft.LoraConfig.
"""

import math
from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens.anatomy import Shapes, linear_weights, task_type
from peftlens.errors import BadInput

FAMILY = "reparametrization"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 2e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of LoRA.

    Attributes:
        rank: inner size r of B (d_out, r) and A (r, d_in).
        alpha: numerator of the scale alpha / rank; dimensionless.
        target_modules: last parts of the names of the linear layers to adapt.
    """

    rank: int = 8
    alpha: float = 16
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a trainable A and B, in float32, to each target layer.

    B starts at zero, so the wrapped model's logits equal the base model's.

    Raises:
        ValueError: (from peft) rank < 1, or no layer matches `target_modules`.
    """
    targets = [m for n, m in model.named_modules() if n.split(".")[-1] in config.target_modules]
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type=task_type(model),
            r=config.rank,
            lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  # a float works too
            target_modules=list(config.target_modules),
            fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in targets),  # GPT-2's layers
        ),
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """R (d_in + d_out) for each adapted matrix.

    Raises:
        BadInput: the rank or alpha is out of range, or a target matches nothing.
    """
    if not 0 < config.alpha < math.inf:
        raise BadInput(f"alpha={config.alpha:g} must be above 0 and finite; 0 has no effect")
    weights = linear_weights(shapes, config.target_modules)
    smallest = min(min(shape) for shape in weights.values())
    if not 1 <= config.rank <= smallest:
        raise BadInput(
            f"rank={config.rank} must lie between 1 and {smallest}, "
            "the smaller side of the smallest adapted matrix"
        )
    return sum(config.rank * sum(shape) for shape in weights.values())

"""SHiRA: train a random sparse share of each weight's entries, as many as a LoRA of rank r.

Source: Bhardwaj et al. 2024, arXiv:2406.13175 (SHiRA-Rand). Layers: peft.ShiraConfig. Weights of
one shape share their places. Learning rate: that of Hugging Face's method_comparison (MetaMathQA,
Llama-3.2-3B).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "W' = W + m ⊙ ΔW,  m = 1 at r (d_out + d_in) random places"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: sets the number of trained entries, r (d_out + d_in).
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a sparse update of zeros to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.ShiraConfig,
        config.target_modules,
        r=config.rank,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    layers = adapted(config.rank, config.target_modules, shapes)
    if any(config.rank * (d_out + d_in) > d_out * d_in for d_out, d_in in layers):
        raise InputError(f"rank={config.rank} needs more entries than an adapted matrix has")
    return sum(config.rank * sum(shape) for shape in layers)

"""HiRA: a high-rank update, the base weight times a low-rank matrix, entry by entry.

W' = W + W ⊙ (B A). Source: Huang et al. 2025, "HiRA: Parameter-Efficient Hadamard High-Rank
Adaptation for Large Language Models", ICLR 2025. Layers: peft.HiraConfig. Learning rate: that of
Hugging Face's method_comparison (MetaMathQA, Llama-3.2-3B).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + W ⊙ (B A)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 4.5e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of B (d_out, r) and A (r, d_in).
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and scale each target weight's entries by a low-rank matrix.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.HiraConfig,
        config.target_modules,
        r=config.rank,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    return sum(
        config.rank * sum(shape) for shape in adapted(config.rank, config.target_modules, shapes)
    )

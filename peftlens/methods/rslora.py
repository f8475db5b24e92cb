"""Rank-stabilized LoRA: W' = W + (alpha / √rank) B A, so that high ranks keep learning.

Source: Kalajdzievski 2023, arXiv:2312.03732, section 3. Layers: peft.LoraConfig(use_rslora=True).
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / √rank) B A"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a trainable A and B, in float32, to each target layer.

    B starts at zero, so the wrapped model's logits equal the base model's.
    """
    return attach_lora(model, config, use_rslora=True)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    return low_rank_parameters(config, shapes, experts=True)

"""LoRA: train a low-rank update, W' = W + (alpha / rank) B A.

Source: Hu et al. 2021, arXiv:2106.09685, section 4.1. Layers: peft.LoraConfig. Learning rate: the
best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); the authors use
5e-4 for RoBERTa-base and 2e-4 for GPT-2, over many epochs (microsoft/LoRA).
"""

from dataclasses import dataclass

from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.batched_adapters import LowRankUpdate
from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.layers.peft_wrapper import peft_layers
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / rank) B A"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a trainable A and B, in float32, to each target layer.

    B starts at zero, so the wrapped model's logits equal the base model's.
    """
    return attach_lora(model, config)


def batchable_fields(config: Config) -> tuple[str, ...]:  # noqa: ARG001
    """Return the fields in which runs of one pass may differ: rank and alpha."""
    return ("rank", "alpha")


def trainable_parts(model: nn.Module) -> dict[str, LowRankUpdate]:
    """Return A, B and the scale alpha / rank of each adapted layer, by its dotted name."""
    return {
        name: LowRankUpdate(
            layer.lora_A["default"].weight,
            layer.lora_B["default"].weight,
            layer.scaling["default"],
        )
        for name, layer in peft_layers(model, LoraLayer)
    }


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    return low_rank_parameters(config, shapes, experts=True)

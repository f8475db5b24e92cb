"""DoRA: a low-rank update of the direction of each output's weights, and a trained length.

W' = m (W + (alpha / rank) B A) / ‖W + (alpha / rank) B A‖, with one norm and one m per row. Source:
Liu et al. 2024, arXiv:2402.09353, section 4.1. Layers: peft.LoraConfig(use_dora=True). Learning
rate: the best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); the
authors use 2e-4 for Llama 2 7B.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.layers.low_rank import LowRank, adapted, attach_lora, low_rank_parameters
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = m (W + (alpha / rank) B A) / ‖W + (alpha / rank) B A‖"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a trainable A and B, in float32, to each target layer.

    B starts at zero and m at the rows' norms, so the logits equal the base model's up to rounding.

    Raises:
        InputError: the base has 8-bit weights, whose norms peft 0.21 can't read.
    """
    if any(type(parameter).__name__ == "Int8Params" for parameter in model.parameters()):
        raise InputError(
            "dora needs the norms of weights, which peft can't read in 8 bits; use lora"
        )
    return attach_lora(model, config, use_dora=True)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) + d_out for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    return low_rank_parameters(config, shapes) + sum(
        d_out for d_out, _ in adapted(config.rank, config.target_modules, shapes)
    )

"""LLaMA-Adapter: trained vectors that the top layers attend to, scaled by a gate that starts at 0.

Source: Zhang et al. 2023, arXiv:2303.16199, section 3. Layers: peft.AdaptionPromptConfig.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError, require
from peftlens.layers.peft_wrapper import wrap_whole
from peftlens.models.architecture import blocks, embedding
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "additive adapter"
FORMULA = "y = attention(x) + g · attention(x; keys and values of P), g = 0 first"
EXPOSES = frozenset()
UNMERGEABLE = "it changes the inputs of attention and no weight"
NO_HEAD = "peft saves no head along with it; use another method"
LEARNING_RATE = 1e-2

_SUPPORTED = ("model.layers", "transformer.h")  # names of Llama's and GPT-2's stacks of blocks


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of vectors of each adapted layer.
        layers: number of adapted layers, counted from the top; None adapts all.
    """

    num_virtual_tokens: int = 10
    layers: int | None = None


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and let its top layers attend to trained vectors.

    The gates start at zero, so the logits at the start equal the base model's.
    """
    return wrap_whole(
        model,
        peft.AdaptionPromptConfig,
        adapter_len=config.num_virtual_tokens,
        adapter_layers=config.layers or len(blocks(shapes_of(model))),
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n d + 1 for each adapted layer.

    Raises:
        InputError: a value is out of range, or peft does not know this architecture.
    """
    names = blocks(shapes)
    if not all(block.rpartition(".")[0] in _SUPPORTED for block in names):
        raise InputError("adaption_prompt: peft supports it for Llama-like models and GPT-2 only")
    require("num_virtual_tokens", config.num_virtual_tokens, 1)
    layers = len(names) if config.layers is None else config.layers
    require("layers", layers, 1, len(names), "this model's depth")
    return layers * (config.num_virtual_tokens * embedding(shapes)[1] + 1)

"""P-tuning: a soft prompt that is the output of a small trained network.

Source: Liu et al. 2021, arXiv:2103.10385, section 3. Layers: peft.PromptEncoderConfig, with its
network of three layers. The file stores the network's output (the prompt), not the network.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.models.architecture import embedding
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "y = f([MLP(P); embed(x)])"
EXPOSES = frozenset({"soft_prompt", "token_vectors"})
UNMERGEABLE = "it changes the input and no weight"
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        hidden_size: h, the width of the network.
    """

    num_virtual_tokens: int = 20
    hidden_size: int = 256


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the network's output to its (encoder's) input."""
    return wrap_prompt(
        model,
        peft.PromptEncoderConfig,
        config.num_virtual_tokens,
        encoder_hidden_size=config.hidden_size,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n d for the network's input, and 2 d h + h² + 2 h + d for the network.

    Raises:
        InputError: a value is below 1, or the model's layers have unknown names.
    """
    (_, d), h = embedding(shapes), config.hidden_size
    require("num_virtual_tokens", config.num_virtual_tokens, 1)
    require("hidden_size", h, 1)
    return config.num_virtual_tokens * d + 2 * d * h + h * h + 2 * h + d

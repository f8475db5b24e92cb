"""Prefix tuning: trained keys and values in front of every attention layer.

Source: Li & Liang 2021, arXiv:2101.00190, section 4, without the reparametrizing network, which is
P-tuning v2: Liu et al. 2021, arXiv:2110.07602, section 3. Layers: peft.PrefixTuningConfig. In an
encoder-decoder the prefix is in the decoder, where in peft 0.21 two layers share each key and
value, and the other half of the counted parameters is never read.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.layers.prefix import prefix_parameters
from peftlens.models.architecture import Shapes

FAMILY = "soft prompt"
EXPOSES = frozenset({"prefix", "token_vectors"})
UNMERGEABLE = "it changes the inputs of attention and no weight"
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
    """

    num_virtual_tokens: int = 20


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend n trained keys and values to each layer's."""
    return wrap_prompt(
        model,
        peft.PrefixTuningConfig,
        config.num_virtual_tokens,
        num_transformer_submodules=None,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """A key and a value of each decoder layer for each virtual token.

    Raises:
        InputError: a value is below 1, or the model's layers have unknown names.
    """
    return prefix_parameters(shapes, config.num_virtual_tokens)

"""Prefix tuning: trained keys and values in front of every attention layer.

Source: Li & Liang 2021, arXiv:2101.00190, section 4, without the reparametrizing network, which is
P-tuning v2: Liu et al. 2021, arXiv:2110.07602, section 3. Layers: peft.PrefixTuningConfig. In an
encoder-decoder the prefix is in the decoder, where in peft 0.21 two layers share each key and
value, and the other half of the counted parameters is never read. Learning rate: the best of five
on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); P-tuning v2's authors use
5e-3 to 1e-2 without a network (THUDM/P-tuning-v2).
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.layers.prefix import initial_states, prefix_parameters
from peftlens.models.architecture import require_room
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "K' = [P_K; K],  V' = [P_V; V] in every layer"
EXPOSES = frozenset({"prefix", "token_vectors"})
UNMERGEABLE = "it changes the inputs of attention and no weight"
NEEDS_CACHE = True
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        common_ids: ranges of ids of the tokens from which the prefix starts, filled in from the
            tokenizer: the 5,000 most common.
    """

    num_virtual_tokens: int = 20
    common_ids: tuple[tuple[int, int], ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Fill in the most common tokens."""
    return replace(config, common_ids=context.common_ids())


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend n trained keys and values to each layer's."""
    n = config.num_virtual_tokens
    require_room(model, n)
    states = initial_states(model, n, config.common_ids)
    layers, _, heads, _, size = states.shape
    # measured: the configuration that peft reads names an encoder's depth, and heads of queries
    wrapped = wrap_prompt(
        model,
        peft.PrefixTuningConfig,
        n,
        num_transformer_submodules=None,
        num_layers=layers,
        num_attention_heads=heads,
        token_dim=heads * size,
    )
    weight = cast("Any", wrapped.prompt_encoder["default"]).embedding.weight
    # peft's rows: of each virtual token the key and value of the first layer, then of the next
    with torch.no_grad():
        weight.copy_(states.permute(3, 0, 1, 2, 4).reshape(weight.shape))
    return wrapped


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """A key and a value of each decoder layer for each virtual token.

    Raises:
        InputError: a value is below 1, or the model's layers have unknown names.
    """
    return prefix_parameters(shapes, config.num_virtual_tokens)

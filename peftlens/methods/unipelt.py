"""UniPELT: LoRA, a prefix and bottleneck adapters together, each scaled by a trained gate.

Source: Mao et al. 2021, arXiv:2110.07577, section 3.2. The gates of LoRA and of the adapters read
each position's hidden state. The paper averages a gate over the positions of the input; in a
decoder, later tokens, including the answer, would then affect earlier ones, so each position has a
separate gate. The prefix's gate is the same for all positions: one number per layer. Learning rate:
the best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import require, require_positive
from peftlens.layers.bottleneck import Bottleneck, bottleneck_parameters, change_output
from peftlens.layers.initial_tokens import Ranges
from peftlens.layers.prefix import Prefix, prefix_parameters
from peftlens.models.architecture import freeze, key_widths, sites
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "mix"
FORMULA = "y = W x + g₁ s B A x;  K' = [g₂ P_K; K], V' = [g₂ P_V; V];  y = h + g₃ adapter(h)"
EXPOSES = frozenset()
UNMERGEABLE = "its gates depend on the input"
NEEDS_CACHE = True
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: rank of the LoRA update of the query and value projections.
        alpha: numerator of LoRA's scale alpha / rank.
        num_virtual_tokens: length of the prefix.
        bottleneck_size: inner size of the adapters after the feed-forward layers.
        common_ids: ranges of ids of the tokens from which the prefix starts, filled in from the
            tokenizer: the 5,000 most common.
    """

    rank: int = 8
    alpha: float = 16.0
    num_virtual_tokens: int = 10
    bottleneck_size: int = 32
    common_ids: tuple[tuple[int, int], ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Fill in the most common tokens."""
    return replace(config, common_ids=context.common_ids())


class _Gate(nn.Module):
    """Sigmoid of a linear map of the hidden state, one number per position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.linear(hidden))


class GatedLora(nn.Module):
    """g(x) (alpha / rank) B A x, in float32 whatever the base's dtype."""

    def __init__(self, d_in: int, d_out: int, config: Config) -> None:
        super().__init__()
        self.gate = _Gate(d_in)
        self.a = nn.Linear(d_in, config.rank, bias=False)
        self.b = nn.Linear(config.rank, d_out, bias=False)
        self.scale = config.alpha / config.rank
        nn.init.zeros_(self.b.weight)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Shape (..., d_in) to (..., d_out)."""
        states = states.float()
        return self.gate(states) * self.scale * self.b(self.a(states))


class GatedBottleneck(nn.Module):
    """h + g(h) bottleneck(h)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.gate = _Gate(width)
        self.bottleneck = Bottleneck(width, size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d) to (..., d), in the input's dtype."""
        added = self.gate(hidden.float()) * self.bottleneck(hidden)
        return hidden + added.to(hidden.dtype)


class GatedPrefix(Prefix):
    """A prefix whose keys and values are scaled by one gate per layer, 0.5 at the start."""

    def __init__(
        self, model: PreTrainedModel, num_virtual_tokens: int, common_ids: Ranges = ()
    ) -> None:
        super().__init__(model, num_virtual_tokens, common_ids)
        self.gate = nn.Parameter(torch.zeros(len(self.states), device=model.device))

    def layers(self) -> torch.Tensor:
        """Compute the gated keys and values, shape (layers, 2, heads, n, size)."""
        return self.states * torch.sigmoid(self.gate)[:, None, None, None, None]


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add the three parts, each with its gate.

    LoRA and the adapters add nothing at the start; the prefix changes the output from the start.

    Raises:
        InputError: the model's layers have unknown names.
    """
    shapes = shapes_of(model)
    freeze(model)
    for name, (d_out, d_in) in linear_layers(shapes, ("query_value",)).items():
        layer: Any = model.get_submodule(name)
        layer.gated_lora = GatedLora(d_in, d_out, config).to(model.device)
        layer.register_forward_hook(_add)
    for name, width in sites(shapes, "feed_forward").items():
        layer = model.get_submodule(name)
        layer.gated_bottleneck = GatedBottleneck(width, config.bottleneck_size).to(model.device)
        change_output(layer, layer.gated_bottleneck)
    GatedPrefix(model, config.num_virtual_tokens, config.common_ids).put_before(model)
    return model


def _add(layer: Any, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return output + layer.gated_lora(args[0]).to(output.dtype)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Sum of the three methods, d + 1 for the gate of each adapter and LoRA, 1 per prefix layer.

    Raises:
        InputError: a value is out of range, or a layer has an unknown name.
    """
    require("rank", config.rank, 1)
    require_positive("alpha", config.alpha)
    require("bottleneck_size", config.bottleneck_size, 1)
    adapted = linear_layers(shapes, ("query_value",)).values()
    lora = sum(config.rank * (d_out + d_in) + d_in + 1 for d_out, d_in in adapted)
    widths = sites(shapes, "feed_forward").values()
    adapters = sum(bottleneck_parameters(d, config.bottleneck_size) + d + 1 for d in widths)
    prefix = prefix_parameters(shapes, config.num_virtual_tokens)
    return lora + adapters + prefix + len(key_widths(shapes))

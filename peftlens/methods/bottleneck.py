"""Bottleneck adapter: y = h + W_up relu(W_down h + b_down) + b_up.

Source: Houlsby et al. 2019, arXiv:1902.00751, section 2.1 (after attention and after feed-forward:
placement = "both"); Pfeiffer et al. 2020, arXiv:2005.00247, section 3 (one per block, after the
feed-forward layer). h is the output of that layer before the residual sum. The model's
normalization layers stay frozen; Houlsby et al. train them too. Learning rate: the best of four on
bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); the authors use 3e-4 for BERT
(google-research/adapter-bert).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.batched_adapters import ParallelBottleneck
from peftlens.layers.bottleneck import (
    Bottleneck,
    Placement,
    bottleneck_parameters,
    change_output,
    places,
)
from peftlens.models.architecture import freeze
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "additive adapter"
FORMULA = "y = h + W_up relu(W_down h + b_down) + b_up"
EXPOSES = frozenset()
UNMERGEABLE = "the bottleneck is not linear"
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of the adapter.

    Attributes:
        bottleneck_size: m, the inner size of W_down (m, d) and W_up (d, m).
        placement: layers of each block that an adapter follows.
    """

    bottleneck_size: int = 32
    placement: Placement = "feed_forward"


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add an adapter after each of the chosen layers.

    W_up starts at zero, so the logits at the start equal the base model's.

    Raises:
        InputError: the model has no such layer of a known name.
    """
    freeze(model)
    for name, width in places(shapes_of(model), config.placement).items():
        layer: Any = model.get_submodule(name)
        layer.bottleneck = Bottleneck(width, config.bottleneck_size).to(model.device)
        change_output(layer, _adding(layer.bottleneck))
    return model


def _adding(adapter: Bottleneck):
    def add(hidden: torch.Tensor) -> torch.Tensor:
        return hidden + adapter(hidden).to(hidden.dtype)

    return add


def batchable_fields(config: Config) -> tuple[str, ...]:  # noqa: ARG001
    """Return the fields in which runs of one pass may differ: the size."""
    return ("bottleneck_size",)


def trainable_parts(model: nn.Module) -> dict[str, ParallelBottleneck]:
    """Return the bottleneck at each place, by the module's dotted name."""
    return {
        name.removesuffix(".bottleneck"): ParallelBottleneck(module)
        for name, module in model.named_modules()
        if isinstance(module, Bottleneck)
    }


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """2 d m + m + d for each place.

    Raises:
        InputError: the size is below 1, or the model has no such layer of a known name.
    """
    require("bottleneck_size", config.bottleneck_size, 1)
    widths = places(shapes, config.placement).values()
    return sum(bottleneck_parameters(width, config.bottleneck_size) for width in widths)

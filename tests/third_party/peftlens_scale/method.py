"""Feed-forward scale: one trained number for each block, by which its output is multiplied.

Source: an example, of no paper.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.bottleneck import change_output
from peftlens.models.architecture import Shapes, freeze, sites
from peftlens.models.architecture import shapes as shapes_of

FAMILY = "additive adapter"
EXPOSES = frozenset()
UNMERGEABLE = "it is an example"
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options.

    Attributes:
        start: the scale before training.
    """

    start: float = 1.0


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and scale each feed-forward module's output."""
    freeze(model)
    for name in sites(shapes_of(model), "feed_forward"):
        layer: Any = model.get_submodule(name)
        layer.scale = nn.Parameter(torch.tensor(config.start))
        change_output(layer, lambda hidden, own=layer: hidden * own.scale.to(hidden.dtype))
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """One for each feed-forward module."""
    return len(sites(shapes, "feed_forward"))

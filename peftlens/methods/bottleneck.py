"""Bottleneck adapter after each feed-forward layer: y = h + W_up relu(W_down h + b_down) + b_up.

Source: Pfeiffer et al. 2020, arXiv:2005.00247, section 3 (one adapter a block, after the
feed-forward layer); the bottleneck itself: Houlsby et al. 2019, arXiv:1902.00751, section 2.1.
h is the feed-forward layer's output before the residual sum.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.anatomy import Shapes, embedding, embedding_weight, feed_forwards, freeze
from peftlens.anatomy import shapes as shapes_of
from peftlens.errors import BadInput

FAMILY = "additive adapter"
EXPOSES = frozenset()
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of the adapter.

    Attributes:
        bottleneck_size: m, the inner size of W_down (m, d) and W_up (d, m).
    """

    bottleneck_size: int = 32


class Bottleneck(nn.Module):
    """Down, relu, up, and the input added; in float32 whatever the base's dtype."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)  # the identity at the start
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d) to (..., d), in the input's dtype."""
        return hidden + self.up(torch.relu(self.down(hidden.float()))).to(hidden.dtype)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add an adapter to each feed-forward layer.

    W_up starts at zero, so the logits at the start equal the base model's.

    Raises:
        BadInput: the model has no feed-forward layer of a known name.
    """
    freeze(model)
    table = embedding_weight(model)
    for name in feed_forwards(shapes_of(model)):
        layer: Any = model.get_submodule(name)
        layer.bottleneck = Bottleneck(table.shape[1], config.bottleneck_size).to(table.device)
        layer.register_forward_hook(lambda layer, _, output: layer.bottleneck(output))
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """2 d m + m + d for each feed-forward layer.

    Raises:
        BadInput: the size is below 1, or the model has no feed-forward layer of a known name.
    """
    size = config.bottleneck_size
    if size < 1:
        raise BadInput(f"bottleneck_size={size} must be at least 1")
    width = embedding(shapes)[1]
    return len(feed_forwards(shapes)) * (2 * width * size + size + width)

"""Parallel adapter: y = f(x) + s (W_up relu(W_down x + b_down) + b_up), parallel to a layer f.

Source: He et al. 2021, arXiv:2110.04366, section 4.3; the fixed scale s, section 4.5, where it
acts on the feed-forward layer.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require, require_positive
from peftlens.layers.bottleneck import Parallel, Placement, bottleneck_parameters, places
from peftlens.models.architecture import freeze
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "additive adapter"
FORMULA = "y = f(x) + s (W_up relu(W_down x + b_down) + b_up)"
EXPOSES = frozenset()
UNMERGEABLE = "the bottleneck is not linear"
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of the adapter.

    Attributes:
        bottleneck_size: m, the inner size of W_down (m, d) and W_up (d, m).
        scale: s, fixed; dimensionless.
        placement: layers of each block with a parallel adapter.
    """

    bottleneck_size: int = 32
    scale: float = 4.0
    placement: Placement = "feed_forward"


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add an adapter parallel to each of the chosen layers.

    W_up starts at zero, so the logits at the start equal the base model's.

    Raises:
        InputError: the model has no such layer of a known name.
    """
    freeze(model)
    for name, width in places(shapes_of(model), config.placement).items():
        adapter = Parallel(width, config.bottleneck_size, config.scale).to(model.device)
        adapter.put_beside(model, name)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """2 d m + m + d for each place.

    Raises:
        InputError: a value is out of range, or the model has no such layer of a known name.
    """
    require("bottleneck_size", config.bottleneck_size, 1)
    require_positive("scale", config.scale)
    widths = places(shapes, config.placement).values()
    return sum(bottleneck_parameters(width, config.bottleneck_size) for width in widths)

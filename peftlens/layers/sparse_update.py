"""Sparse update: trained values added at chosen entries of the weights, all others unchanged.

The weights are recomputed in each forward pass, so the originals stay unchanged.
"""

from collections.abc import Collection
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.models.architecture import freeze
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.quantized import require_plain
from peftlens.models.target_modules import Shapes, target_weights


class SparseUpdate(nn.Module):
    """Values (k,) added at places (k,), indices into the concatenation of all adapted weights."""

    SAVED_BUFFERS = ("places",)

    def __init__(self, places: torch.Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(len(places), device=places.device))
        self.register_buffer("places", places.sort().values)


class _Part(nn.Module):
    """One weight's share of the update."""

    def __init__(self, update: SparseUpdate, start: int, size: int) -> None:
        super().__init__()
        self._update = (update,)  # in a tuple, or its parameters would be counted once per weight
        self._range = (start, start + size)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Add the changes to the weight in float32; the sum has the weight's dtype."""
        update: Any = self._update[0]
        low, high = torch.searchsorted(update.places, update.places.new_tensor(self._range))
        places, values = update.places[low:high] - self._range[0], update.values[low:high]
        changed = weight.float().flatten().index_add(0, places, values)
        return changed.view_as(weight).to(weight.dtype)


def weights_of(model: nn.Module, target_modules: Collection[str]) -> dict[str, nn.Parameter]:
    """Return the adapted weights by name, those of experts included, in the model's order."""
    shapes = shapes_of(model)
    weights = {name: model.get_parameter(name) for name in target_weights(shapes, target_modules)}
    require_plain(weights.items(), "its entries can't be changed")
    return weights


def add_sparse_update(
    model: PreTrainedModel, target_modules: Collection[str], places: torch.Tensor
) -> nn.Module:
    """Freeze `model` in place and add trained values to its weights at `places` (k,)."""
    weights = weights_of(model, target_modules)
    freeze(model)
    update = SparseUpdate(places)
    start = 0
    for name, weight in weights.items():
        compute_by(model, name, _Part(update, start, weight.numel()))
        start += weight.numel()
    owner: Any = model
    owner.sparse_update = update
    return model


def compute_by(model: nn.Module, name: str, part: nn.Module) -> None:
    """Compute a weight, by its parameter's name, from its original by `part` in each pass."""
    module, _, last = name.rpartition(".")
    parametrize.register_parametrization(model.get_submodule(module), last, part)


def kept(shapes: Shapes, target_modules: Collection[str], density: float) -> int:
    """Number of trained entries: the share `density` of the adapted weights' entries, rounded.

    Raises:
        InputError: a target matches nothing, or the share is outside (0, 1] or leaves nothing.
    """
    total = sum(map(prod, target_weights(shapes, target_modules).values()))
    require("density", density, 1 / total, 1, "a share; the lower bound is one entry")
    return round(density * total)

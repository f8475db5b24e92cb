"""Intrinsic dimension: the whole update is a fixed random projection of d trained numbers.

W_i' = W_i + λ_i P_i(θ). With one λ per weight it is SAID, without (λ = 1) DID. Source: Aghajanyan,
Zettlemoyer & Gupta 2020, arXiv:2012.13255, section 3; P is the Fastfood transform of Le, Sarlós &
Smola 2013, H G Π H B over a vector padded with zeros to a power of two. The paper projects onto
every weight; here onto the target layers, because the random factors take nine bytes per entry.
Learning rate: that of SAID in Karimi Mahabadi et al.'s comparison on T5-base (rabeehk/compacter).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.sparse_update import compute_by, weights_of
from peftlens.models.architecture import freeze
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "Wᵢ' = Wᵢ + λᵢ Pᵢ(θ),  P fixed and random"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        dimension: d, the total number of trained numbers.
        structure_aware: whether one of them per weight is its scale λ (SAID).
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
        projection_seed: seed of the random factors, which are redrawn at loading.
    """

    dimension: int = 1000
    structure_aware: bool = True
    target_modules: tuple[str, ...] = ("query_value",)
    projection_seed: int = 0


class _Hadamard(torch.autograd.Function):
    """Multiply by the orthonormal Hadamard matrix; it is its own transpose, so its own gradient."""

    @staticmethod
    def forward(ctx: Any, vector: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return hadamard(vector)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return hadamard(gradients[0])


def hadamard(vector: torch.Tensor) -> torch.Tensor:
    """Compute H v / √N in N log N additions; v: shape (N,), N a power of two, Sylvester's order."""
    size, half = len(vector), 1
    while half < size:
        first, second = vector.view(-1, 2, half).unbind(dim=1)
        vector = torch.stack((first + second, first - second), dim=1).flatten()
        half *= 2
    return vector / math.sqrt(size)


class Fastfood(nn.Module):
    """Adds λ P(θ) to one weight."""

    def __init__(
        self, theta: nn.Parameter, weight: torch.Tensor, generator: torch.Generator, scaled: bool
    ) -> None:
        super().__init__()
        size = 2 ** math.ceil(math.log2(max(weight.numel(), len(theta))))
        self._theta = (theta,)  # in a tuple: it belongs to the model, not to each weight
        self.scale = nn.Parameter(torch.ones(())) if scaled else None
        signs = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8) * 2 - 1
        order = torch.randperm(size, generator=generator).int()
        gaussian = torch.randn(size, generator=generator)
        for name, factor in {"signs": signs, "order": order, "gaussian": gaussian}.items():
            self.register_buffer(name, factor, persistent=False)

    def projected(self, count: int) -> torch.Tensor:
        """First `count` entries of H G Π H B θ, each with variance |θ|² / N over the draws."""
        factors: Any = self
        theta = self._theta[0]
        padded = nn.functional.pad(theta, (0, len(factors.signs) - len(theta)))
        mixed = _Hadamard.apply(padded * factors.signs)
        shuffled = mixed.index_select(0, factors.order) * factors.gaussian
        return _Hadamard.apply(shuffled)[:count]

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Add the update to the weight in float32; the sum has the weight's dtype."""
        change = self.projected(weight.numel()).view_as(weight)
        if self.scale is not None:
            change = self.scale * change
        return (weight.float() + change).to(weight.dtype)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add to each target weight its projection of one vector θ = 0.

    The logits at the start equal the base model's.
    """
    weights = weights_of(model, config.target_modules)
    freeze(model)
    scales = len(weights) if config.structure_aware else 0
    theta = nn.Parameter(torch.zeros(config.dimension - scales, device=model.device))
    owner: Any = model
    owner.intrinsic = theta
    generator = torch.Generator().manual_seed(config.projection_seed)
    for name, weight in weights.items():
        part = Fastfood(theta, weight, generator, config.structure_aware).to(model.device)
        compute_by(model, name, part)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d in total; each scale λ replaces one entry of θ.

    Raises:
        InputError: a target matches nothing, or d leaves no entry of θ.
    """
    layers = linear_layers(shapes, config.target_modules)
    require("dimension", config.dimension, 1 + (len(layers) if config.structure_aware else 0))
    return config.dimension

"""Compacter: a bottleneck whose weights are sums of Kronecker products with shared factors.

W = sum_i A_i ⊗ (s_i t_i): the n matrices A_i (n, n) are shared by all adapters of the model, the
factors s_i and t_i of rank r are separate for each weight. Source: Karimi Mahabadi, Henderson &
Ruder 2021, arXiv:2106.04647, section 3. Compacter++ (section 3.3) is placement = "feed_forward".
One factor of W_up starts at zero here, so that the model starts as the base; the paper starts near
it. The model's normalization layers, which the paper trains too, stay frozen. Learning rate: the
best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); the authors use
3e-3 (their repository).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError, require
from peftlens.layers.bottleneck import Placement, change_output, places
from peftlens.models.architecture import freeze
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "additive adapter"
FORMULA = "y = h + W_up relu(W_down h + b_down) + b_up,  W = Σᵢ Aᵢ ⊗ (sᵢ tᵢ)"
EXPOSES = frozenset()
UNMERGEABLE = "the bottleneck is not linear"
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of the adapter.

    Attributes:
        bottleneck_size: m, the inner size; divisible by `kronecker_terms`.
        kronecker_terms: n, the number of products and the size of each A_i.
        rank: r, the inner rank of the factors s_i t_i.
        placement: layers of each block that an adapter follows.
    """

    bottleneck_size: int = 32
    kronecker_terms: int = 4
    rank: int = 1
    placement: Placement = "both"


class KroneckerSum(nn.Module):
    """A linear layer with weight (d_out, d_in) = sum_i A_i ⊗ (s_i t_i) and a bias."""

    def __init__(self, shared: nn.Parameter, d_in: int, d_out: int, rank: int) -> None:
        super().__init__()
        terms = len(shared)
        self._shared = (shared,)  # in a tuple: it belongs to the model, not to each layer
        self.left = nn.Parameter(torch.empty(terms, d_out // terms, rank))
        self.right = nn.Parameter(torch.empty(terms, rank, d_in // terms))
        self.bias = nn.Parameter(torch.zeros(d_out))
        for factor in (self.left, self.right):
            nn.init.xavier_uniform_(factor)

    def weight(self) -> torch.Tensor:
        """Compute the weight, shape (d_out, d_in)."""
        shared = self._shared[0]  # (n, n, n)
        low_rank = self.left @ self.right  # (n, d_out / n, d_in / n)
        products = torch.einsum("nab,ncd->acbd", shared, low_rank)
        (a, c, b, d) = products.shape
        return products.reshape(a * c, b * d)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d_in) to (..., d_out)."""
        return nn.functional.linear(hidden, self.weight(), self.bias)


class CompactAdapter(nn.Module):
    """Down-projection, GELU, up-projection and residual sum; float32 whatever the base's dtype."""

    def __init__(self, shared: nn.Parameter, width: int, config: Config) -> None:
        super().__init__()
        self.down = KroneckerSum(shared, width, config.bottleneck_size, config.rank)
        self.up = KroneckerSum(shared, config.bottleneck_size, width, config.rank)
        nn.init.zeros_(self.up.left)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d) to (..., d), in the input's dtype."""
        inner = nn.functional.gelu(self.down(hidden.float()))
        return hidden + self.up(inner).to(hidden.dtype)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add an adapter after each of the chosen layers.

    The logits at the start equal the base model's.

    Raises:
        InputError: the model has no such layer of a known name.
    """
    freeze(model)
    terms = config.kronecker_terms
    shared = nn.Parameter(torch.randn(terms, terms, terms, device=model.device) / terms)
    owner: Any = model
    owner.kronecker_factors = shared
    for name, width in places(shapes_of(model), config.placement).items():
        layer: Any = model.get_submodule(name)
        layer.compacter = CompactAdapter(shared, width, config).to(model.device)
        change_output(layer, layer.compacter)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n³ shared, and (2 r + 1) (d + m) for each adapter.

    Raises:
        InputError: a value is out of range, or n divides no width.
    """
    require("kronecker_terms", config.kronecker_terms, 1)
    require("rank", config.rank, 1)
    require("bottleneck_size", config.bottleneck_size, 1)
    widths = places(shapes, config.placement).values()
    for name, size in [("bottleneck_size", config.bottleneck_size), ("width", max(widths))]:
        if size % config.kronecker_terms:
            raise InputError(f"kronecker_terms={config.kronecker_terms} must divide {name}={size}")
    each = (2 * config.rank + 1) * config.bottleneck_size
    separate = sum(each + (2 * config.rank + 1) * width for width in widths)
    return config.kronecker_terms**3 + separate

"""LoReFT: edit the residual stream in a low-rank subspace, h + Rᵀ (W h + b - R h).

The rows of R are orthonormal. Source: Wu et al. 2024, arXiv:2404.03592, section 3.2, equation 2.
The paper edits the first and last positions of the prompt; here it is the first few positions or
all, because a forward pass does not know where the prompt ends. W starts as R and b at zero, so
that the model starts as the base; the reference implementation starts W at random. Learning rate:
the authors' for Llama on commonsense, arithmetic and instructions (stanfordnlp/pyreft,
examples/loreft).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.bottleneck import change_output
from peftlens.models.architecture import blocks, freeze, sites
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "additive adapter"
FORMULA = "h' = h + Rᵀ (W h + b − R h),  R Rᵀ = I"
EXPOSES = frozenset()
UNMERGEABLE = "it edits hidden states between blocks, where there is no weight to merge it into"
LEARNING_RATE = 9e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: r, the dimension of the subspace.
        first_tokens: number of edited positions, counted from the start; None edits all.
    """

    rank: int = 4
    first_tokens: int | None = None


class Intervention(nn.Module):
    """h + Rᵀ (W h + b - R h), in float32 whatever the base's dtype."""

    def __init__(self, width: int, rank: int, first_tokens: int | None) -> None:
        super().__init__()
        self.span = nn.Parameter(torch.empty(rank, width))
        nn.init.orthogonal_(self.span)
        self.source = nn.Linear(width, rank)
        self.first_tokens = first_tokens
        with torch.no_grad():
            self.source.weight.copy_(self.rotation())
            self.source.bias.zero_()

    def rotation(self) -> torch.Tensor:
        """Compute R (r, d), an orthonormal basis of the rows of the trained span."""
        basis, triangle = torch.linalg.qr(self.span.T)  # (d, r), (r, r)
        # QR flips signs where an entry crosses zero; R must change as smoothly as the span
        return (basis * triangle.diagonal().sign()).T

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (B, T, d) to (B, T, d), in the input's dtype."""
        edited = hidden[:, : self.first_tokens]
        rotation = self.rotation()
        # W - R before the product, so that equal weights give exactly zero
        inner = nn.functional.linear(
            edited.float(), self.source.weight - rotation, self.source.bias
        )
        change = inner @ rotation
        edited = edited + change.to(hidden.dtype)
        return torch.cat([edited, hidden[:, edited.shape[1] :]], dim=1)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and edit the output of each block.

    The logits at the start equal the base model's.

    Raises:
        InputError: the model has no numbered blocks.
    """
    shapes = shapes_of(model)
    freeze(model)
    width = _width(shapes)
    for name in blocks(shapes):
        block: Any = model.get_submodule(name)
        block.loreft = Intervention(width, config.rank, config.first_tokens).to(model.device)
        change_output(block, block.loreft)
    owner: Any = model
    owner.reads_whole_rows = config.first_tokens is not None  # it counts from the row's start
    return model


def _width(shapes: Shapes) -> int:
    return next(iter(sites(shapes, "attention").values()))


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r d for R, r d for W and r for b, for each block.

    Raises:
        InputError: the rank is out of range, or the model has no blocks of known names.
    """
    width = _width(shapes)
    require("rank", config.rank, 1, width, "the width of the hidden states")
    if config.first_tokens is not None:
        require("first_tokens", config.first_tokens, 1)
    return len(blocks(shapes)) * (2 * config.rank * width + config.rank)

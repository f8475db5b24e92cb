"""LoKr: an update that is a Kronecker product with a low-rank larger factor (where it is smaller).

W' = W + (alpha / rank) C ⊗ (B A). Source: Yeh et al. 2023, arXiv:2309.14859. Layers:
peft.LoKrConfig, with the factors as near to square as the sizes' divisors allow. Learning rate:
that of Hugging Face's method_comparison (MetaMathQA, Llama-3.2-3B).
"""

import math
from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require_positive
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / rank) C ⊗ (B A)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of the larger factor.
        alpha: numerator of the scale alpha / rank; dimensionless.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a Kronecker product with a zero factor to each target layer.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.LoKrConfig,
        config.target_modules,
        r=config.rank,
        alpha=config.alpha,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """For d_out = a b and d_in = c d: a c, and r (b + d) or, where that is no less, b d.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require_positive("alpha", config.alpha)
    return sum(
        _count(config.rank, *shape) for shape in adapted(config.rank, config.target_modules, shapes)
    )


def _count(rank: int, d_out: int, d_in: int) -> int:
    (a, b), (c, d) = _factors(d_out), _factors(d_in)
    return a * c + (rank * (b + d) if rank < max(b, d) / 2 else b * d)


def _factors(size: int) -> tuple[int, int]:
    """The two divisors nearest to the square root, smaller first."""
    smaller = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    return smaller, size // smaller

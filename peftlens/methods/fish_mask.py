"""FISH mask: train the entries of the weights with the largest Fisher information on the task.

Source: Sung, Nair & Raffel 2021, arXiv:2111.09839, sections 3.1 and 3.2: the diagonal of the
empirical Fisher information is the mean, over training examples, of the squared gradient of the
example's log-likelihood.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.sparse_update import add_sparse_update, kept
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "W' = W + m ⊙ ΔW,  m = 1 where the Fisher information is largest"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        density: share of the entries that are trained, between 0 and 1.
        examples: number of training examples for estimating the information.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    density: float = 0.005
    examples: int = 64
    target_modules: tuple[str, ...] = ("all_linear",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a sparse update of zeros; `calibrate` chooses its places.

    The logits at the start equal the base model's.
    """
    count = kept(shapes_of(model), config.target_modules, config.density)
    return add_sparse_update(model, config.target_modules, torch.arange(count, device=model.device))


def calibrate(model: nn.Module, config: Config, losses: Iterable[torch.Tensor]) -> None:
    """Put the update where the squared gradients of single examples' losses are largest.

    Args:
        model: return value of `attach`.
        config: configuration of the method.
        losses: loss of one training example each, nats, computed lazily.
    """
    update: Any = model.sparse_update
    update.requires_grad_(False)
    originals = [p for n, p in model.named_parameters() if n.endswith("weight.original")]
    weights = [weight.requires_grad_(True) for weight in originals]
    information = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for loss in islice(losses, config.examples):
        gradients = torch.autograd.grad(loss, weights)
        for total, gradient in zip(information, gradients, strict=True):
            total += gradient.float().square()
    for weight in weights:
        weight.requires_grad_(False)
    update.requires_grad_(True)
    flat = torch.cat([total.flatten() for total in information])
    update.places = flat.topk(len(update.places)).indices.sort().values


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of entries in the given share of the adapted weights, rounded.

    Raises:
        InputError: a target matches nothing, the share leaves no entry, or there is no example.
    """
    require("examples", config.examples, 1)
    return kept(shapes, config.target_modules, config.density)

"""Random mask: train a random share of the weights' entries, a sparse update.

The control of every method that chooses its entries. Source: Xu et al. 2021, arXiv:2109.05687,
whose task-free variant draws a new mask each step; here the mask is drawn once, by the run's seed,
so that the update stays sparse.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.sparse_update import add_sparse_update, kept, weights_of
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "W' = W + m ⊙ ΔW,  m = 1 at random"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        density: share of the entries that are trained, between 0 and 1.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    density: float = 0.005
    target_modules: tuple[str, ...] = ("all_linear",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a sparse update of zeros at random places.

    The logits at the start equal the base model's.
    """
    count = kept(shapes_of(model), config.target_modules, config.density)
    total = sum(weight.numel() for weight in weights_of(model, config.target_modules).values())
    places = torch.randperm(total)[:count].to(model.device)
    return add_sparse_update(model, config.target_modules, places)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of entries in the given share of the adapted weights, rounded.

    Raises:
        InputError: a target matches nothing, or the share leaves no entry.
    """
    return kept(shapes, config.target_modules, config.density)

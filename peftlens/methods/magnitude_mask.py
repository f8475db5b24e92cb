"""Magnitude mask: train the entries of largest, or smallest, magnitude in the base weights.

Source: selection by magnitude is from pruning (Han et al. 2015, arXiv:1506.02626); for selecting
trainable entries: Ansell et al. 2021, arXiv:2110.07560, section 3, who rank by change instead. It
needs no data and no first training, so it is the cheap control of `fish_mask`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.sparse_update import add_sparse_update, kept, weights_of
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "W' = W + m ⊙ ΔW,  m = 1 where |W| is largest (or smallest)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        density: share of the entries that are trained, between 0 and 1.
        largest: whether to train the entries of largest magnitude, or else of smallest.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    density: float = 0.005
    largest: bool = True
    target_modules: tuple[str, ...] = ("all_linear",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add a sparse update of zeros at the chosen places.

    The entries of all adapted weights compete with each other. The logits at the start equal the
    base model's.
    """
    count = kept(shapes_of(model), config.target_modules, config.density)
    weights = weights_of(model, config.target_modules).values()
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    places = sizes.float().topk(count, largest=config.largest).indices
    return add_sparse_update(model, config.target_modules, places)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of entries in the given share of the adapted weights, rounded.

    Raises:
        InputError: a target matches nothing, or the share leaves no entry.
    """
    return kept(shapes, config.target_modules, config.density)

"""Diff pruning: W' = W + z * w, where a penalty drives most of the gates z to exactly zero.

Source: Guo, Rush & Kim 2020, arXiv:2012.07463, section 3: gates follow the hard-concrete
distribution of Louizos et al. 2017, arXiv:1712.01312, stretched to (-1.5, 1.5); each entry has a
gate and each matrix has a gate, and the two are multiplied (section 3.3); after the last step all
but the largest entries of z * w are pruned (section 3.2). Not implemented: a second training with
the mask fixed. Gates have a separate learning rate, because they must move further than weights to
close. The adapter stores w and the gates densely, so its file is larger than the update.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.sparse_update import compute_by, kept, weights_of
from peftlens.models.architecture import freeze
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "selective"
FORMULA = "W' = W + z ⊙ w,  z in [0, 1], mostly 0"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-3

_LOW, _HIGH = -1.5, 1.5  # the interval to which gates are stretched before they are clipped
_OPEN, _SHUT = 30.0, -30.0  # logits at which a gate is exactly 1 or 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        density: share of the entries kept after the last step, between 0 and 1.
        penalty: weight of the expected number of open gates in the loss, nats per gate.
        gate_learning_rate: highest learning rate of the gates.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    density: float = 0.005
    penalty: float = 1.25e-7
    gate_learning_rate: float = 0.1
    target_modules: tuple[str, ...] = ("query_value",)


class GatedUpdate(nn.Module):
    """Adds z * w to a weight; the gates are drawn while training and fixed otherwise."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.update = nn.Parameter(torch.zeros(weight.shape, device=weight.device))
        self.gate = nn.Parameter(torch.full(weight.shape, 5.0, device=weight.device))
        self.matrix_gate = nn.Parameter(torch.tensor(5.0, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Add the gated update to the weight in float32; the sum has the weight's dtype."""
        return (weight.float() + self.change()).to(weight.dtype)

    def change(self) -> torch.Tensor:
        """Compute the update z * w, in the weight's shape (d_out, d_in)."""
        return self._open(self.gate) * self._open(self.matrix_gate) * self.update

    def _open(self, logits: torch.Tensor) -> torch.Tensor:
        if self.training:
            noise = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            logits = logits + noise.log() - (1 - noise).log()
        return (torch.sigmoid(logits) * (_HIGH - _LOW) + _LOW).clamp(0, 1)

    def expected_open(self) -> torch.Tensor:
        """Expected number of entries whose two gates are both nonzero."""
        shift = math.log(-_LOW / _HIGH)
        return torch.sigmoid(self.gate - shift).sum() * torch.sigmoid(self.matrix_gate - shift)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add to each target weight an update of zeros with open gates.

    The logits at the start equal the base model's.
    """
    weights = weights_of(model, config.target_modules)
    freeze(model)
    for name, weight in weights.items():
        compute_by(model, name, GatedUpdate(weight))
    return model


def _updates(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, GatedUpdate)]


def optimizer(
    model: nn.Module, config: Config, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW: `rate` for the updates; `gate_learning_rate`, without decay, for the gates."""
    parts = _updates(model)
    gates = [gate for part in parts for gate in (part.gate, part.matrix_gate)]
    updates = [part.update for part in parts]
    return torch.optim.AdamW(
        [
            {"params": updates, "lr": rate, "weight_decay": weight_decay},
            {"params": gates, "lr": config.gate_learning_rate, "weight_decay": 0.0},
        ]
    )


def regularization_loss(model: nn.Module, config: Config) -> torch.Tensor:
    """Weighted expected number of open gates, added to the loss; nats."""
    return config.penalty * torch.stack([part.expected_open() for part in _updates(model)]).sum()


@torch.no_grad()
def after_step(model: nn.Module, config: Config, step: int, steps: int) -> None:
    """After the last step, keep the largest entries of all updates and set the others to zero."""
    if step < steps:
        return
    model.eval()
    parts = _updates(model)
    changes = [part.change() for part in parts]
    flat = torch.cat([change.flatten() for change in changes]).abs()
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.topk(round(config.density * len(flat))).indices] = True
    for part, change, keep in zip(parts, changes, _split(chosen, changes), strict=True):
        part.update.copy_(change)
        part.gate.copy_(torch.where(keep, _OPEN, _SHUT))
        part.matrix_gate.fill_(_OPEN)


def training_state(model: nn.Module, config: Config) -> dict[str, Any]:  # noqa: ARG001
    """Return nothing: before the last step all that changes are parameters."""
    return {}


def _split(flat: torch.Tensor, like: Collection[torch.Tensor]) -> list[torch.Tensor]:
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """An update and a gate for each entry, and a gate for each matrix; few are kept at the end.

    Raises:
        InputError: a target matches nothing, or a value is out of range.
    """
    require("penalty", config.penalty, 0)
    require("gate_learning_rate", config.gate_learning_rate, 0)
    kept(shapes, config.target_modules, config.density)  # refuses a share that leaves nothing
    layers = linear_layers(shapes, config.target_modules).values()
    return sum(2 * d_out * d_in + 1 for d_out, d_in in layers)

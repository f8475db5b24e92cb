"""Directions of a run's updates: what each changed module reads and what it writes.

A weight's update is ΔW = Σ σ_i u_i v_iᵀ: it reads its input along v_i and writes to its output
along u_i (Zhong & Raghunathan 2025, arXiv:2508.00161). The factors of a LoRA are no such
directions: B M and M⁻¹ A are the same update for every invertible M, so single columns of B or rows
of A mean nothing, while the singular vectors are the update's own. The neurons of a bottleneck
adapter are its own as well, because its nonlinearity acts on each: neuron i reads along row i of
W_down and writes along column i of W_up. A changed bias writes one direction.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import svds
from torch import nn

from peftlens import registry
from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.delta_factors import DeltaFactors
from peftlens.adapters.delta_weights import delta_weights
from peftlens.layers.bottleneck import Bottleneck
from peftlens.models.base_model import BaseModel
from peftlens.models.target_modules import BLOCK, ROLES, matrices
from peftlens.numerics.linalg import Svd
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

Float = NDArray[np.float64]
Side = Literal["reads", "writes"]
# Outputs of attention, and of bottleneck adapters; those of feed-forward layers are a role.
_OUTPUT = re.compile(
    r"\b(o_proj|out_proj|attn\.c_proj|(attention|self_attention|self_attn)\.dense|out_lin|wo|up)\.$"
)
_DENSE = 512  # smaller side up to which a dense update is decomposed in full


@dataclass(frozen=True, kw_only=True)
class Component:
    """Strongest k directions of the update of one weight.

    Attributes:
        weight: name of the weight.
        module: dotted name of its module in the base, or in the attached model if it was added.
        values: singular values σ, largest first, shape (k,); of neurons ‖row‖ ‖column‖.
        shares: σ² over the sum of all σ² of the update, shape (k,).
        separation: (σ_i − σ_{i+1}) / σ_i, shape (k,): near 0, the direction and the next can be
            mixed without a change of the update.
        reads: unit directions of the input, shape (d_in, k); None for a bias.
        writes: unit directions of the output, shape (d_out, k).
    """

    weight: str
    module: str
    values: Float
    shares: Float
    separation: Float
    reads: Float | None
    writes: Float | None


def update_components(
    run: TrainedModel, base: BaseModel, count: int, *, neurons: bool = True
) -> list[Component]:
    """Return the strongest directions of each changed weight in the blocks, in the model's order.

    Signs follow a convention: the largest entry of what is read is positive.

    Args:
        run: a run.
        base: its base model.
        count: number of directions of each weight.
        neurons: whether those of bottleneck adapters and of biases are included.

    Raises:
        NotApplicable: no weight in the blocks was changed, or none that can be read.
    """
    found, reason = [], f"{run.config.method} changes no weight matrix in the blocks"
    if "delta_weight" in registry.exposed(run.config.method, run.config.method_config):
        try:
            layers = matrices(base.shapes)
            found = [
                _of_update(update, count)
                for update in delta_weights(run, base)
                if update.name.removesuffix(".weight") in layers
            ]
        except NotApplicable as error:
            if not neurons:
                raise
            reason = str(error)
    if neurons:
        found += _added(run, base, count)
    if not found:
        raise NotApplicable(reason)
    return found


def side_of(component: Component, base: BaseModel) -> Side | None:
    """Return whether a weight writes into the residual stream or reads it, by name and shape.

    None for others, such as the inner matrices of latent attention.
    """
    width = base.model.config.get_text_config().hidden_size
    place = BLOCK.sub("", f"{component.module}.", count=1)
    last = _OUTPUT.search(place) or ROLES["feed_forward_output"].search(place)
    if component.reads is None or last:
        wide = component.writes is not None and len(component.writes) == width
        return "writes" if wide and last else None
    return "reads" if len(component.reads) == width else None


def _of_update(update: DeltaFactors, count: int) -> Component:
    svd = _strongest(update, count + 1)
    u, s, v = (np.asarray(one, float) for one in (svd.u[:, :count], svd.s, svd.vt[:count].T))
    signs = _signs(v)
    total = float(update.norm) ** 2
    return Component(
        weight=update.name,
        module=update.name.removesuffix(".weight"),
        values=s[:count],
        shares=s[:count] ** 2 / total,
        separation=_separation(s, len(s[:count])),
        reads=v * signs,
        writes=u * signs,
    )


def _strongest(update: DeltaFactors, count: int) -> Svd:
    """Compute the largest singular values and vectors in float64, without the others if dense."""
    if update.factors is not None:
        return update.svd
    dense = np.asarray(update.dense, np.float64)
    if min(dense.shape) <= max(_DENSE, count + 1):
        return Svd(*np.linalg.svd(dense, full_matrices=False))
    u, s, vt = svds(dense, count, rng=0)  # by Lanczos' method
    order = np.argsort(-s)
    return Svd(np.asarray(u)[:, order], s[order], np.asarray(vt)[order])


def _signs(vectors: Float) -> Float:
    """Return the sign of the largest entry of each column, shape (k,)."""
    largest = np.abs(vectors).argmax(axis=0)
    return np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _separation(s: Float, count: int) -> Float:
    following = np.append(s, 0.0)[1 : count + 1]
    return (s[:count] - following) / np.maximum(s[:count], 1e-300)


def _added(run: TrainedModel, base: BaseModel, count: int) -> list[Component]:
    """Return the neurons of bottleneck adapters, and the changes of biases."""
    before = {name: _bias(base.model.get_submodule(name)) for name in matrices(base.shapes)}
    with open_run(run, base):
        names = [name for name, one in base.model.named_modules() if isinstance(one, Bottleneck)]
        neurons = [one for name in names for one in _neurons(base.model, name, count)]
        biases = [
            one
            for name, old in before.items()
            for one in _bias_change(name, old, _bias(base.model.get_submodule(name)))
        ]
    return neurons + biases


def _bias(module: nn.Module) -> torch.Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, torch.Tensor) else None


def _bias_change(
    name: str, old: torch.Tensor | None, new: torch.Tensor | None
) -> Iterator[Component]:
    """Yield the change of a bias, unless it is the base's own."""
    if new is None or (old is not None and old.data_ptr() == new.data_ptr()):
        return
    change = (new if old is None else new - old).double().cpu().numpy()
    if norm := float(np.linalg.norm(change)):
        one = np.ones(1)
        yield Component(
            weight=f"{name}.bias",
            module=name,
            values=norm * one,
            shares=one,
            separation=one,
            reads=None,
            writes=(change / norm)[:, None],
        )


def _neurons(model: Any, name: str, count: int) -> Iterator[Component]:
    """Yield the strongest neurons of a bottleneck, once for what they read and once for writing."""
    adapter = model.get_submodule(name)
    down = adapter.down.weight.detach().double().cpu().numpy()  # (m, d)
    up = adapter.up.weight.detach().double().cpu().numpy()  # (d, m)
    lengths = np.linalg.norm(down, axis=1), np.linalg.norm(up, axis=0)
    values = lengths[0] * lengths[1]
    if not values.any():
        return
    order = np.argsort(-values, kind="stable")
    best = order[: min(count, int((values > 0).sum()))]
    common = {
        "values": values[best],
        "shares": values[best] ** 2 / (values**2).sum(),
        "separation": np.ones(len(best)),
    }
    reads, writes = (down[best] / lengths[0][best, None]).T, up[:, best] / lengths[1][best]
    yield Component(
        weight=f"{name}.down", module=f"{name}.down", reads=reads, writes=None, **common
    )
    yield Component(weight=f"{name}.up", module=f"{name}.up", reads=None, writes=writes, **common)

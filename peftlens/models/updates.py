"""What a run changed in each weight matrix, ΔW = W − W₀, whatever the method.

LoRA and what differs from it only in start, scale or training keep B and A: their updates are
decomposed from those, exactly. Every other method that has an update of the weights is merged in
float32, and W₀ subtracted: exact but for float32's rounding of W. So LoHa, LoKr, VeRA and OFT are
seen as the update that they amount to, PiSSA without the part of W₀ that its factors start from,
and DoRA with its lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import peft
import torch
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer
from sklearn.utils.extmath import randomized_svd
from torch import nn

from peftlens.anatomy import Shapes, linear_layers
from peftlens.errors import BadInput
from peftlens.linalg import Svd, product_svd, product_values
from peftlens.models.adapters import base_of, opened, state
from peftlens.models.base import in_float32
from peftlens.models.lending import lent
from peftlens.models.merging import merged_weights
from peftlens.progress import track
from peftlens.run import Run
from peftlens.table import NotApplicable

LARGEST = 2048  # smaller side of a matrix that is decomposed whole: seconds each
LEADING = 256  # singular values of a larger one, by random projection
_DOING = "Looking at changed weights"

Float = NDArray[np.floating]


@dataclass(frozen=True)
class Update:
    """The change of one weight matrix; its largest singular values, and how they were come by.

    Attributes:
        name: of the weight in the base.
        before: W₀, float32, shape (d_out, d_in).
        change: ΔW, float32, the same shape; None where it has factors.
        factors: scale · B, shape (d_out, r), and A, shape (r, d_in), float64.
        rank: nominal, as the method's configuration has it; None for methods without one.
    """

    name: str
    before: Float
    change: Float | None = None
    factors: tuple[Float, Float] | None = None
    rank: int | None = None

    @property
    def exact(self) -> bool:
        """Whether all singular values are known, and not the largest only."""
        return self.change is None or min(self.change.shape) <= LARGEST

    @cached_property
    def svd(self) -> Svd:
        """Singular values and vectors, largest first."""
        if self.factors is not None:
            return product_svd(*self.factors)
        assert self.change is not None
        if self.exact:
            return Svd(*np.linalg.svd(self.change, full_matrices=False))
        return Svd(*randomized_svd(self.change, LEADING, random_state=0))

    @cached_property
    def values(self) -> Float:
        """Singular values alone, which takes a third of the time."""
        if self.factors is not None:
            return product_values(*self.factors)
        if self.change is not None and self.exact:
            return np.linalg.svd(self.change, compute_uv=False)
        return self.svd.s

    @cached_property
    def norm(self) -> float:
        """‖ΔW‖_F."""
        return float(np.linalg.norm(self.values if self.change is None else self.change))

    @property
    def own_values(self) -> Float:
        """Singular values of W₀."""
        return np.linalg.svd(self.before, compute_uv=False)

    @property
    def after(self) -> Float:
        """W, float32."""
        if self.change is not None:
            return self.before + self.change
        return (self.before + self.svd.u * self.svd.s @ self.svd.vt).astype(np.float32)


def updates(run: Run, step: int | None = None) -> Iterator[Update]:
    """Every weight matrix that has changed, in the base's order; none where nothing has.

    Args:
        run: of a method that exposes `delta_weight`.
        step: a checkpoint instead of the end of training.

    Raises:
        NotApplicable: it can't be merged into this base.
    """
    base = base_of(run)
    own = {name: parameter.data for name, parameter in base.model.named_parameters()}
    with opened(run, step) as (model, _):
        factors = _factors(model, own)
    if factors is not None:
        changed = [name for name, (b, _) in factors.items() if b.any()]  # B starts at zero
        for name in track(changed, _DOING):
            weight, pair = _matrix(own[name], name, base.shapes), factors[name]
            yield Update(name, weight, factors=pair, rank=pair[1].shape[0])
        return
    exact = in_float32(base)
    own = {name: parameter.data for name, parameter in exact.model.named_parameters()}
    with lent(exact.model):
        try:
            tuned = merged_weights(run, exact, step)
        except BadInput as error:
            raise NotApplicable(str(error)) from error
    matrices = [name for name, weight in own.items() if weight.ndim == 2]
    changed = [name for name in matrices if not torch.equal(own[name], tuned[name])]
    for name in track(changed, _DOING):
        weight = _matrix(own[name], name, base.shapes)
        change = _matrix(tuned[name], name, base.shapes) - weight
        yield Update(name, weight, change, rank=run.config.method_config.get("rank"))


def _matrix(tensor: torch.Tensor, name: str, shapes: Shapes) -> Float:
    """A weight as (d_out, d_in) in float32; GPT-2 keeps some the other way round."""
    matrix = tensor.detach().float().cpu()
    layers = linear_layers(shapes, ("all_linear",))
    meant = layers.get(name.removesuffix(".weight"), tuple(matrix.shape))
    return (matrix if tuple(matrix.shape) == meant else matrix.T).numpy()


def _factors(
    model: nn.Module, own: dict[str, torch.Tensor]
) -> dict[str, tuple[Float, Float]] | None:
    """B, scaled, and A of every changed weight; None where that is not all that there is."""
    if not isinstance(model, peft.PeftModel):
        return None
    found = {}
    inner: Any = model.get_base_model()
    for name, layer in inner.named_modules():
        if isinstance(layer, LoraLayer):
            weight = f"{name}.weight"
            if not _is_plain(layer, own[weight]):
                return None
            sides: Any = layer.lora_B, layer.lora_A
            b, a = (one["default"].weight.detach().double().cpu().numpy() for one in sides)
            found[weight] = (layer.scaling["default"] * b, a)
    return found if found and len(state(model)) == 2 * len(found) else None


def _is_plain(layer: LoraLayer, own: torch.Tensor) -> bool:
    """Whether W = W₀ + scale · B A: no variant, and no part of W₀ moved into the factors."""
    held = isinstance(layer.lora_A, nn.ModuleDict) and "default" in layer.lora_A
    if not held or "default" in layer.lora_variant:
        return False
    plain: Any = layer.get_base_layer()
    weight = plain.weight
    return not weight.is_floating_point() or torch.equal(weight.data, own)

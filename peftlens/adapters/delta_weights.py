"""Delta weights: the update ΔW = W − W₀ of each weight matrix, for any method.

LoRA and variants that differ only in initialization, scale or training store B and A: their updates
are decomposed from these, exactly. Every other method with an update of the weights is merged in
float32 and W₀ subtracted: exact up to float32's rounding of W. So LoHa, LoKr, VeRA and OFT appear
as their effective update, PiSSA without the part of W₀ from which its factors start, and DoRA with
its lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from peftlens.adapters.checkpoint import open_run, state
from peftlens.adapters.delta_factors import DeltaFactors, Float
from peftlens.adapters.merging import merged_weights, weight_layout
from peftlens.errors import InputError
from peftlens.io.progress import track
from peftlens.layers.peft_wrapper import peft_layers
from peftlens.models.base_model import BaseModel, in_float32
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

_DOING = "Looking at changed weights"


@dataclass(frozen=True, kw_only=True)
class DeltaWeight(DeltaFactors):
    """An update together with its base weight.

    Attributes:
        before: W₀, float32, shape (d_out, d_in).
    """

    before: Float

    @property
    def own_values(self) -> Float:
        """Singular values of W₀."""
        return np.linalg.svd(self.before, compute_uv=False)

    @property
    def after(self) -> Float:
        """Updated weight W, float32, shape (d_out, d_in)."""
        if self.change is not None:
            return self.before + self.change
        return (self.before + self.svd.u * self.svd.s @ self.svd.vt).astype(np.float32)


def delta_weights(
    run: TrainedModel, base: BaseModel, step: int | None = None
) -> Iterator[DeltaWeight]:
    """Yield the update of every changed weight matrix, in the base model's order.

    Args:
        run: run of a method that exposes `delta_weight`.
        base: the run's base model.
        step: step of a checkpoint; by default the end of training.

    Raises:
        NotApplicable: the run can't be merged into this base model.
    """
    turned = {f"{name}.weight" for name in weight_layout(base.model).transposed}
    parameters = base.model.named_parameters(remove_duplicate=False)  # a tied head has two names
    weights = {name: parameter.data for name, parameter in parameters}
    with open_run(run, base, step) as model:
        factors = _factors(model, weights)
    if factors is not None:
        changed = [name for name, (b, _) in factors.items() if b.any()]  # B starts at zero
        for name in track(changed, _DOING):
            weight, pair = _matrix(weights[name], name in turned), factors[name]
            yield DeltaWeight(name=name, before=weight, factors=pair, rank=pair[1].shape[0])
        return
    exact = in_float32(base)
    parameters = exact.model.named_parameters(remove_duplicate=False)
    weights = {name: parameter.data for name, parameter in parameters}
    with restored_after(exact.model):
        try:
            tuned = merged_weights(run, exact, step)
        except InputError as error:
            raise NotApplicable(str(error)) from error
    matrices = _once({name: w for name, w in weights.items() if w.ndim == 2}, tuned)
    changed = [name for name in matrices if not torch.equal(weights[name], tuned[name])]
    for name in track(changed, _DOING):
        weight = _matrix(weights[name], name in turned)
        change = _matrix(tuned[name], name in turned) - weight
        yield DeltaWeight(name=name, before=weight, change=change, rank=run.rank)


def _once(weights: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor]) -> list[str]:
    """Return the first name of each matrix: tied tables are two where only one was updated."""
    first: dict[tuple[int, int], str] = {}
    for name, weight in weights.items():
        first.setdefault((weight.data_ptr(), tuned[name].data_ptr()), name)
    return list(first.values())


def _matrix(tensor: torch.Tensor, turned: bool) -> Float:
    """Convert a weight to (d_out, d_in) in float32; some of GPT-2's are transposed."""
    matrix = tensor.detach().float().cpu()
    return (matrix.T if turned else matrix).numpy()


def _factors(
    model: nn.Module, weights: dict[str, torch.Tensor]
) -> dict[str, tuple[Float, Float]] | None:
    """Return scaled B and A of every changed weight; None if the update has other parts."""
    if not isinstance(model, peft.PeftModel):
        return None
    factors = {}
    for name, layer in peft_layers(model, LoraLayer):
        weight = f"{name}.weight"
        if weight not in weights or not _is_plain(layer, weights[weight]):
            return None
        sides = layer.lora_B, layer.lora_A
        b, a = (one["default"].weight.detach().double().cpu().numpy() for one in sides)
        factors[weight] = (layer.scaling["default"] * b, a)
    return factors if factors and len(state(model)) == 2 * len(factors) else None


def _is_plain(layer: LoraLayer, before: torch.Tensor) -> bool:
    """Whether W = W₀ + scale · B A: no variant, and no part of W₀ in the factors."""
    held = isinstance(layer.lora_A, nn.ModuleDict) and "default" in layer.lora_A
    if not held or "default" in layer.lora_variant:
        return False
    plain: Any = layer.get_base_layer()
    weight = plain.weight
    return not weight.is_floating_point() or torch.equal(weight.data, before)

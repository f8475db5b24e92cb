"""Delta weights: the update ΔW = W − W₀ of each weight matrix, for any method.

LoRA and variants that differ only in initialization, scale or training store B and A: their updates
are decomposed from these, exactly. Every other method with an update of the weights is merged in
float32 and W₀ subtracted: exact up to float32's rounding of W. So LoHa, LoKr, VeRA and OFT appear
as their effective update, PiSSA without the part of W₀ from which its factors start, and DoRA with
its lengths. The experts of a stacked parameter are matrices of their own, named `...down_proj[3]`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.checkpoint import open_run, state
from peftlens.adapters.delta_factors import DeltaFactors, Float
from peftlens.adapters.expert_factors import (
    expert_name,
    plain_name,
    split_experts,
    stored_transposed,
)
from peftlens.adapters.merging import merged_weights, weight_layout
from peftlens.errors import InputError
from peftlens.io.progress import track
from peftlens.layers.peft_wrapper import peft_layers
from peftlens.models.base_model import BaseModel, in_float32
from peftlens.models.heads import is_in_head
from peftlens.models.quantized import unpacked
from peftlens.models.snapshot import restored_after
from peftlens.models.target_modules import experts
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


@dataclass(frozen=True, kw_only=True)
class TunedWeights:
    """Every weight of a base model before and after tuning.

    Attributes:
        before: weights of the base by name, without a new head's; a tied one has two names.
        after: all weights of the tuned model by the same names.
        turned: names of the weights that are stored as (d_in, d_out).
    """

    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]
    turned: set[str]

    def deltas(self, rank: int | None = None) -> Iterator[DeltaWeight]:
        """Yield the update of every changed matrix, in the base model's order.

        Args:
            rank: nominal rank of the method.

        Raises:
            NotApplicable: a weight is quantized.
        """
        for name in track(_changed(self.before, self.after), _DOING):
            before, turned = self.before[name], name in self.turned
            for expert in range(len(before)) if before.ndim == 3 else (None,):
                weight = _matrix(before, turned, expert)
                change = _matrix(self.after[name], turned, expert) - weight
                if expert is None or change.any():
                    title = expert_name(name, expert)
                    yield DeltaWeight(name=title, before=weight, change=change, rank=rank)


def delta_weights(
    run: TrainedModel, base: BaseModel, step: int | None = None
) -> Iterator[DeltaWeight]:
    """Yield the update of every changed weight matrix, in the base model's order.

    Args:
        run: run of a method that exposes `delta_weight`.
        base: the run's base model; its new head, of which no file has a start, is left out.
        step: step of a checkpoint; by default the end of training.

    Raises:
        NotApplicable: the run can't be merged into this base model.
    """
    factored = factored_deltas(run, base, step)
    if factored is not None:
        yield from factored
        return
    try:
        exact = in_float32(base)
        tuned = tuned_weights(run, exact, step)
    except InputError as error:
        raise NotApplicable(str(error)) from error
    yield from tuned.deltas(run.rank)


def saved_delta_weights(run: TrainedModel, base: BaseModel) -> Iterator[tuple[int, DeltaWeight]]:
    """Yield the updates of all saved steps, each with its step.

    Args:
        run: see `delta_weights`.
        base: see `delta_weights`.

    Raises:
        NotApplicable: no weight matrix changed, or see `delta_weights`.
    """
    has_changed = False
    for step in run.steps:
        for update in delta_weights(run, base, step):
            has_changed = True
            yield step, update
    if not has_changed:
        raise NotApplicable(f"{run.config.method} has changed no weight matrix")


def factored_deltas(
    run: TrainedModel, base: BaseModel, step: int | None = None
) -> Iterator[DeltaWeight] | None:
    """Return the updates of a LoRA that stores them as factors; None where it has other parts.

    Args:
        run: see `delta_weights`.
        base: see `delta_weights`.
        step: see `delta_weights`.
    """
    turned = turned_weights(base.model)
    parameters = base.model.named_parameters(remove_duplicate=False)  # a tied head has two names
    weights = {name: _values(parameter) for name, parameter in parameters}
    with open_run(run, base, step) as model:
        factors = _factors(model, weights)
    if factors is None:
        return None
    changed = [
        one for one in factors
        if one.b.any() and not is_in_head(one.parameter, base.model)  # B starts at zero
    ]  # fmt: skip
    return (_with_base(one, weights, one.parameter in turned) for one in track(changed, _DOING))


def _with_base(one: "_Factors", weights: Mapping[str, torch.Tensor], turned: bool) -> DeltaWeight:
    weight = _matrix(weights[one.parameter], turned, one.expert)
    return DeltaWeight(name=one.name, before=weight, factors=(one.b, one.a), rank=one.a.shape[0])


def tuned_weights(run: TrainedModel, exact: BaseModel, step: int | None = None) -> TunedWeights:
    """Merge a run into its base, which is restored afterwards.

    Args:
        run: run of a method that exposes `delta_weight`.
        exact: the run's base model in float32.
        step: step of a checkpoint; by default the end of training.

    Raises:
        InputError: the run can't be merged into this base model.
    """
    parameters = exact.model.named_parameters(remove_duplicate=False)
    before = {n: _values(p) for n, p in parameters if not is_in_head(n, exact.model)}
    turned = turned_weights(exact.model)
    with restored_after(exact.model):
        return TunedWeights(before=before, after=merged_weights(run, exact, step), turned=turned)


def turned_weights(model: PreTrainedModel) -> set[str]:
    """Return the names of a base's weights that are stored as (d_in, d_out)."""
    return {f"{name}.weight" for name in weight_layout(model).transposed} | stored_transposed(model)


def _values(parameter: torch.Tensor) -> torch.Tensor:
    """Return the values, which stay when a method gives the parameter others; packed, itself."""
    return parameter if getattr(parameter, "quant_state", None) else parameter.data


def _changed(weights: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of changed matrices and stacks of experts."""
    stacked = experts({name: tuple(weight.shape) for name, weight in weights.items()})
    named = {name: w for name, w in weights.items() if w.ndim == 2 or name in stacked}
    matrices = _once(named, tuned)
    for name in matrices:
        _require_readable(name, weights[name])
    return [name for name in matrices if not torch.equal(weights[name], tuned[name])]


def _once(weights: dict[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the first name of each matrix: tied tables are two where only one was updated."""
    first: dict[tuple[int, int], str] = {}
    for name, weight in weights.items():
        first.setdefault((weight.data_ptr(), tuned[name].data_ptr()), name)
    return list(first.values())


def _require_readable(name: str, weight: torch.Tensor) -> None:
    if not weight.is_floating_point() and getattr(weight, "quant_state", None) is None:
        raise NotApplicable(f"{name} is quantized in a format that can't be read as a matrix")


def _matrix(weight: torch.Tensor, turned: bool, expert: int | None = None) -> Float:
    """Convert a weight to (d_out, d_in) in float32; some of GPT-2's are transposed."""
    matrix = unpacked(weight if expert is None else weight[expert]).cpu()
    return (matrix.T if turned else matrix).numpy()


@dataclass(frozen=True, kw_only=True)
class _Factors:
    """Factors of the update of one matrix.

    Attributes:
        parameter: name of the base's parameter.
        expert: index of the expert in a stacked parameter.
        b: scale · B, float64, shape (d_out, r).
        a: A, float64, shape (r, d_in).
    """

    parameter: str
    expert: int | None
    b: Float
    a: Float

    @property
    def name(self) -> str:
        """Name of the matrix."""
        return expert_name(self.parameter, self.expert)


def _factors(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> list[_Factors] | None:
    """Return scaled B and A of every changed weight; None if the update has other parts."""
    if not isinstance(model, peft.PeftModel):
        return None
    layers = list(peft_layers(model, LoraLayer))
    factors: list[_Factors] = []
    for name, layer in layers:
        weight = f"{plain_name(name)}.{getattr(layer, 'parameter_name', 'weight')}"
        if weight not in weights or not _is_plain(layer, weights[weight]):
            return None
        _require_readable(weight, weights[weight])
        sides = layer.lora_B, layer.lora_A
        b, a = (one["default"].weight.detach().double().cpu().numpy() for one in sides)
        count = getattr(layer, "num_experts", 1)
        stacked = weights[weight].ndim == 3
        for expert, (left, right) in enumerate(split_experts(b, a, count)):
            factors.append(
                _Factors(
                    parameter=weight,
                    expert=expert if stacked else None,
                    b=layer.scaling["default"] * left,
                    a=right,
                )
            )
    base: Any = model.get_base_model()
    of_weights = [n for n in state(model) if not is_in_head(n.removeprefix(PREFIX), base)]
    return factors if layers and len(of_weights) == 2 * len(layers) else None


def _is_plain(layer: LoraLayer, before: torch.Tensor) -> bool:
    """Whether W = W₀ + scale · B A: no variant, and no part of W₀ in the factors."""
    held = isinstance(layer.lora_A, nn.ModuleDict) and "default" in layer.lora_A
    if not held or "default" in layer.lora_variant:
        return False
    plain: Any = layer.get_base_layer()
    weight = getattr(plain, getattr(layer, "parameter_name", "weight"))
    return not weight.is_floating_point() or torch.equal(weight.data, before)

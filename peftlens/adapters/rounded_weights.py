"""Rounded weights: a base's weights with and without an update, in the precision of serving.

A weight of few bits has few levels. An update that is small beside their distance moves few values
to another level: those that happen to lie near a boundary. Rounding then acts like dithering: along
the update's direction the change is right on average, but its noise is many times as large as the
update. Where all values lie on levels already, as in a base that was quantized before its training,
a small update moves none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer

from peftlens.adapters.checkpoint import attach_run
from peftlens.adapters.merging import merge_into_base, merged_weights, weight_layout
from peftlens.errors import InputError
from peftlens.layers.peft_wrapper import peft_layers
from peftlens.models.architecture import shapes
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import is_in_head
from peftlens.models.snapshot import restored_after
from peftlens.models.target_modules import block_layers
from peftlens.models.weight_precision import QUANTIZED, Precision, rounded
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class UpdateLeft:
    """What rounding leaves of the update ΔW of one weight, with D = Q(W + ΔW) − Q(W).

    Attributes:
        projection: ⟨D, ΔW⟩ / ‖ΔW‖², the share of the update along its own direction.
        noise: ‖D − projection · ΔW‖ / ‖ΔW‖, the change in other directions.
        unmoved: share of the values that ΔW changes and Q(W + ΔW) leaves as Q(W) has them.
    """

    projection: float
    noise: float
    unmoved: float


@dataclass(frozen=True)
class UpdatedWeights:
    """Weights of a base with and without an update, by the base's names.

    Attributes:
        before: parameters without the update, float32; a tied one is there by each of its names.
        after: the same with it.
        quantized: names of the weights that int8 and NF4 round: of the blocks' linear layers,
            without routers; other matrices, such as embeddings and the head, stay as they are.
        transposed: names of GPT-2's layers, stored as (d_in, d_out).
    """

    before: Weights
    after: Weights
    quantized: frozenset[str]
    transposed: frozenset[str]

    def changed(self) -> list[str]:
        """Return the names of the weights that the update changes."""
        return [
            name for name in self.before if not torch.equal(self.before[name], self.after[name])
        ]

    def in_precision(self, weights: Weights, precision: Precision) -> Weights:
        """Round `before` or `after` as a program does that serves the model in a precision."""
        return {name: self._rounded(name, weight, precision) for name, weight in weights.items()}

    def left(self, name: str, precision: Precision) -> UpdateLeft:
        """Measure what rounding leaves of the update of a weight that it changes."""
        before, after = self.before[name], self.after[name]
        update = (after - before).double()
        moved = self._rounded(name, after, precision) - self._rounded(name, before, precision)
        square = update.square().sum()
        projection = (moved * update).sum() / square
        noise = (moved - projection * update).norm() / square.sqrt()
        unmoved = (moved == 0)[update != 0].double().mean()
        return UpdateLeft(projection.item(), noise.item(), unmoved.item())

    def _rounded(self, name: str, weight: torch.Tensor, precision: Precision) -> torch.Tensor:
        if precision not in QUANTIZED:
            return rounded(weight, precision)
        if name not in self.quantized:
            return weight
        if name in self.transposed:
            return rounded(weight.T, precision).T.contiguous()
        return rounded(weight, precision)


def updated_weights(run: TrainedModel, base: BaseModel) -> UpdatedWeights:
    """Read a base's weights, a task's head excepted, with and without a run's update.

    Args:
        run: run of a method that exposes `delta_weight`.
        base: base model of the run, in float32.

    Raises:
        NotApplicable: the run can't be merged into this base model.
    """
    layers = block_layers(shapes(base.model))
    transposed = {f"{name}.weight" for name in weight_layout(base.model).transposed}
    parameters = base.model.named_parameters(remove_duplicate=False)
    own = {
        name: parameter.detach()
        for name, parameter in parameters
        if not is_in_head(name, base.model)  # no file holds its start
    }
    try:
        with restored_after(base.model):
            after = merged_weights(run, base)
        with restored_after(base.model):
            before = own | dict(_of_quantized_base(run, base))
    except InputError as error:
        raise NotApplicable(str(error)) from error
    return UpdatedWeights(
        {name: before[name] for name in own},
        {name: after[name] for name in own},
        frozenset(f"{name}.weight" for name in layers),
        frozenset(transposed),
    )


def _of_quantized_base(run: TrainedModel, base: BaseModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the unpacked weights of a base that the method itself has quantized, as QLoRA does."""
    if run.config.method != "qlora":
        return
    model = attach_run(run, base)
    for _, layer in peft_layers(model, LoraLayer):
        layer.scaling["default"] = 0.0
    yield from merge_into_base(model, run.config.method).named_parameters()

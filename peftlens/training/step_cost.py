"""Cost of a training step in a process of its own: memory with the base in it, time, and FLOPs.

    python -m peftlens.training.step_cost

Reads a `StepRequest` as one JSON text from standard input and writes a `StepCost` to standard
output. Only a new process knows what a configuration needs: elsewhere the base is there already,
and one that is quantized stays in memory beside its original.
"""

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from types import ModuleType
from typing import Annotated, Any

import torch
from accelerate.utils import set_seed
from pydantic import Field
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.data.collate import Batch, Collator
from peftlens.data.head_tokenization import LabeledRow
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.evaluation.log_likelihood import loss_of
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.heads import Head
from peftlens.runs.config import RunConfig, StrictModel
from peftlens.training.attention_backend import attention_backend
from peftlens.training.method_hooks import MethodHooks
from peftlens.training.optimizer import OptimizerStep
from peftlens.training.peak_memory import PeakMemory, heap_without_holes


class StepRequest(StrictModel):
    """Request to measure a configuration's training step.

    Attributes:
        config: configuration of a finished run, with every default filled in.
        rows: number of rows in the batch.
        length: number of tokens in a row.
        scored_tokens: number of tokens in a row that the loss is of; at most all of them.
        steps: number of steps measured for memory, and again for time.
        head: new head of the run's task, if any; one for a text has one label in a row.
        trust_remote_code: whether Python code from the base model's folder may run.
    """

    config: RunConfig
    rows: Annotated[int, Field(ge=1)]
    length: Annotated[int, Field(ge=1)]
    scored_tokens: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]
    head: Head | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step.

    Attributes:
        trainable_parameters: number of parameters that the optimizer changes.
        flops: floating-point operations of the matrix products in a forward and a backward pass;
            a product of (m, k) and (k, n) has 2 m n k.
        weight_bytes: size of all weights and buffers of the model with the method attached.
        gradient_bytes: size of the gradients that the optimizer reads.
        optimizer_state_bytes: size of the optimizer's state and of float32 copies of weights.
        step_seconds: median time of a step.
        peak_memory_bytes: peak of the steps above the process before the base was loaded, the
            highest of the steps; None where the system does not report it.
        loading_peak_memory_bytes: the same of loading the base and attaching the method.
    """

    trainable_parameters: int
    flops: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_state_bytes: int
    step_seconds: float
    peak_memory_bytes: int | None
    loading_peak_memory_bytes: int | None


def step_cost(request: StepRequest) -> StepCost:
    """Load the base, attach the method to it, and measure training steps on random tokens.

    The learning rate is zero: the steps cost the same and leave the weights where they are.

    Raises:
        InputError: the rows are longer than the base allows, the method trains nothing, or the run
            was kept near its base.
    """
    config = request.config
    method = registry.load("methods", config.method)
    set_seed(config.seed)
    with heap_without_holes():
        peak = PeakMemory.start("cuda" if config.device == "cuda" else "cpu")
        steps = _prepare(request, method)
        gc.collect()
        loading_peak_memory_bytes = peak.bytes()
        counter = flop_counter()
        steps.take(counter)  # it also allocates the optimizer's state
        peaks = []
        for _ in range(request.steps):
            peak.restart()
            steps.take()
            peaks.append(peak.bytes())
    steps.take()  # fills the heap
    seconds = [steps.take() for _ in range(request.steps)]
    trainable = [parameter for parameter in steps.model.parameters() if parameter.requires_grad]
    return StepCost(
        trainable_parameters=sum(parameter.numel() for parameter in trainable),
        flops=counter.get_total_flops(),
        weight_bytes=weight_bytes(steps.model),
        gradient_bytes=steps.gradient_bytes,
        optimizer_state_bytes=steps.optimizer.state_bytes,
        step_seconds=median(seconds),
        peak_memory_bytes=None if None in peaks else max(peaks),
        loading_peak_memory_bytes=loading_peak_memory_bytes,
    )


def _prepare(request: StepRequest, method: ModuleType) -> "_Steps":
    """Load the base, attach the method and create its optimizer.

    Raises:
        InputError: see `step_cost`.
    """
    config = request.config
    if config.training.keep:
        raise InputError(
            "it was trained with training.keep, which this probe leaves out; the probe cost has "
            "the time of its steps"
        )
    method_config = registry.configure("methods", config.method, config.method_config)
    base = _private_base(request)
    rows = _rows(base, request)
    collator = Collator.of(base, request.length)
    model = checkpoint.attach(base.model, config.method, method_config)
    if hasattr(method, "calibrate"):
        method.calibrate(model, method_config, _single_losses(model, collator, rows))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{config.method} trains nothing, so it has no training step")
    training = config.training.model_copy(update={"learning_rate": 0.0})
    hooks = MethodHooks.of(method, method_config, model)
    return _Steps(
        model=model.train(),
        batch=collator.batch(rows),
        loss=loss_of(collator),
        optimizer=OptimizerStep(model.parameters(), training, hooks.optimizer),
        hooks=hooks,
        max_steps=training.max_steps,
    )


def _private_base(request: StepRequest) -> BaseModel:
    """Load the base into memory of its own.

    Weights that are read through a mapping of the file would stay in memory, all of them, as long
    as one of them is used.
    """
    config = request.config
    base = load_base_model(
        config.base_model,
        device=config.device,
        dtype=config.dtype,
        trust_remote_code=request.trust_remote_code,
        head=request.head,
    )
    for tensor in (*base.model.parameters(), *base.model.buffers()):
        tensor.data = tensor.data.clone()
    return base


def _rows(base: BaseModel, request: StepRequest) -> list[TokenizedAnswer]:
    """Make rows of random tokens, whose last ones the loss is of, or all of them for a head.

    Raises:
        InputError: the rows are longer than half of the base's context; a soft prompt needs room.
    """
    room = Collator.of(base, request.length).example_tokenizer.max_length
    if request.length > room:
        raise InputError(
            f"rows of {request.length} tokens are longer than {room}, half of the base's context"
        )
    scored = min(request.scored_tokens, request.length)
    # the answer's last token is predicted, and is no input
    ids = random_inputs(base.model, request.rows, request.length + 1)["input_ids"].tolist()
    if request.head:
        return [_labeled(row[:-1], scored, request.head) for row in ids]
    return [TokenizedAnswer(tuple(row[:-scored]), tuple(row[-scored:])) for row in ids]


def _labeled(ids: list[int], scored: int, head: Head) -> LabeledRow:
    """Return a row of the first class, or of the number 0; of tags, with `scored` of them."""
    if head.task_type != "TOKEN_CLS":
        return LabeledRow(tuple(ids), (), labels=(0,))
    places = tuple(range(len(ids) - scored, len(ids)))
    return LabeledRow(tuple(ids), (), labels=(0,) * scored, places=places)


def _single_losses(
    model: nn.Module, collator: Collator, rows: list[TokenizedAnswer]
) -> Iterator[torch.Tensor]:
    """Yield losses of single rows forever, for a method that reads examples before training."""
    while True:
        for row in rows:
            yield loss_of(collator)(model, collator.batch([row]))


@dataclass
class _Steps:
    """Training steps on one batch.

    Attributes:
        model: model with the method attached.
        batch: batch of every step.
        loss: function of a batch's summed loss.
        optimizer: optimizer of the trained parameters.
        hooks: functions of the method in the loop.
        max_steps: length of the run whose step this is, for methods with a schedule.
        gradient_bytes: size of the last step's gradients.
    """

    model: nn.Module
    batch: Batch
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    optimizer: OptimizerStep
    hooks: MethodHooks
    max_steps: int
    gradient_bytes: int = 0
    _taken: int = 0

    def take(self, counting: AbstractContextManager[Any] | None = None) -> float:
        """Take a step and return its seconds.

        Args:
            counting: context of the forward and the backward pass.
        """
        self._taken += 1
        _wait()
        started = time.perf_counter()
        with counting or nullcontext():
            with attention_backend(self.batch):
                loss = self.loss(self.model, self.batch) / len(self.batch.targets)
            loss.backward()
            if self.hooks.regularization_loss:
                self.hooks.regularization_loss().backward()
        self.gradient_bytes = self.optimizer.gradient_bytes
        self.optimizer.step(self._taken, loss.item())
        if self.hooks.after_step:
            self.hooks.after_step(self._taken, self.max_steps)
        self.optimizer.zero_grad()
        _wait()
        return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def flop_counter() -> FlopCounterMode:
    """Make torch's counter, with two kinds of products that it leaves out.

    The CPU's fused attention counts as the two products that it computes, and four in the gradient,
    without those that it repeats: as many as where attention is computed by plain products. A
    product with a 4-bit weight counts like one with the weight unpacked.
    """
    aten = torch.ops.aten
    formulas: dict[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_gradient_flops,
    }
    if hasattr(torch.ops.bitsandbytes, "gemm_4bit"):  # from the import of bitsandbytes
        formulas[torch.ops.bitsandbytes.gemm_4bit] = _packed_product_flops
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int],
                     *_: Any, **__: Any) -> int:  # fmt: skip
    batch, heads, queries, d = query  # shapes (batch, heads, positions, d)
    return 2 * batch * heads * queries * key[2] * (d + value[3])


def _attention_gradient_flops(_: Any, *shapes: Any, **__: Any) -> int:
    return 2 * _attention_flops(*shapes[:3])


def _packed_product_flops(states: Sequence[int], _: Any, weight: Sequence[int],
                          *__: Any, **___: Any) -> int:  # fmt: skip
    return 2 * math.prod(states) * weight[0]  # shapes (..., d_in) and (d_out, d_in)


def weight_bytes(model: nn.Module) -> int:
    """Return the size of all parameters and buffers, with the scales of quantized weights."""
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        while state is not None:  # scales may be quantized, too, with scales of their own
            size += state.absmax.nbytes
            state = state.state2
    return size


def main() -> None:
    """Answer the request on standard input; a request that can't be met ends with a line."""
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries write on standard output
    try:
        cost = step_cost(StepRequest.model_validate_json(sys.stdin.read()))
    except InputError as error:
        sys.exit(str(error))
    reply.write(json.dumps(asdict(cost)))
    reply.close()


if __name__ == "__main__":
    main()

"""Train one run: one plain loop.

Adapters are trained and computed in float32 on a base in its own dtype. Weights that live in the
base (full fine-tuning, selected layers) stay in the base's dtype in the model, while the optimizer
works on float32 copies of them: see master_weights.py.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from peftlens.adapters import checkpoint
from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Batch, Collator, TokenizedAnswer, TokenizedExample, length
from peftlens.evaluation.log_likelihood import answer_loss, choose
from peftlens.io.progress import bar
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.runs.store import build
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.frozen_block_cache import BlockFingerprint, FrozenBlockCache
from peftlens.training.optimizer import DivergenceError, OptimizerStep
from peftlens.training.peak_memory import PeakMemory
from peftlens.training.run_plan import RunPlan, plan_run
from peftlens.training.run_writer import RunWriter

SHORT = 64  # tokens of a row up to which a CPU computes attention by plain products
REUSED = 1.0  # epochs from which on all rows are read, so that reading them ahead costs nothing


def train(config: RunConfig, out: str | Path, *, trust_remote_code: bool = False) -> Run:
    """Train a run, or find it already trained.

    Args:
        config: what to train.
        out: the folder of runs; the run's own folder is made below it, named by its id.
        trust_remote_code: run Python that the base model's folder brings along.

    Raises:
        InputError: see `plan`.
    """
    context = RunContext(trust_remote_code=trust_remote_code)
    return train_run(plan_run(config, context), Path(out))


def train_run(planned: RunPlan, out: Path) -> Run:
    """Train a planned run unless its folder exists.

    Raises:
        RunLockedError: another process is training it.
        RuntimeError: its method left the base changed, and so what it saved is not all it did.
    """

    def fill(folder: Path) -> None:
        before = (
            None
            if planned.config.continue_from is None
            else Run(out / planned.config.continue_from)
        )
        with restored_after(planned.base.model):
            _train(planned, RunWriter(folder, planned), before)
        require_unchanged(planned)

    return Run(build(out, planned.id, fill))


def require_unchanged(planned: RunPlan) -> None:
    """Drop a base that is not as it was before the run.

    Raises:
        RuntimeError: it is not.
    """
    if planned.base.changed():
        planned.base_models.discard()
        raise RuntimeError(
            f"the base model was left changed; this is a defect of {planned.config.method}"
        )


@dataclass(frozen=True)
class DryRun:
    """What a few steps of a run took.

    Attributes:
        trainable_parameters: that the optimizer changes.
        step_seconds: median of the steps but the first; None for a run without steps.
        tokens: read in a step of `batch_size` rows, mean over all training rows.
        peak_memory_bytes: over the loaded base; None where nobody knows.
        adapter_bytes: of what would be saved.
    """

    trainable_parameters: int
    step_seconds: float | None
    tokens: float
    peak_memory_bytes: int | None
    adapter_bytes: int


def dry_run(planned: RunPlan) -> DryRun:
    """Train a planned run for three steps and keep nothing of it."""
    config = planned.config.training
    few = {"max_steps": min(3, config.max_steps), "checkpoint_steps": (), "logging_steps": 1}
    short = planned.config.model_copy(update={"training": config.model_copy(update=few)})
    trial = replace(planned, config=short)
    with restored_after(planned.base.model), TemporaryDirectory() as temporary:
        folder = RunWriter(Path(temporary), trial)
        set_seed(planned.config.seed)
        peak = PeakMemory.start(planned.base.device)
        model = checkpoint.attach(planned.base.model, planned.config.method, planned.method_config)
        read = TokenizedTask.of(planned.base, planned.task, config.max_length)
        _calibrate(planned, model, read.encoder, read.train)
        if few["max_steps"]:
            with suppress(DivergenceError):  # what it took till then is what is asked
                _loop(trial, model, TrainingLoader.of(read.encoder, read.train, config), folder)
        memory = peak.bytes()
        files = folder.save(model, "adapter").iterdir()
        saved = sum(file.stat().st_size for file in files)
        lines = Path(temporary, "timing.jsonl").read_text().splitlines()
        times = [json.loads(line)["seconds"] for line in lines]
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lengths = [length(item.rows[item.correct]) for item in read.train]
    return DryRun(
        trainable_parameters=trained,
        step_seconds=median(times[1:] or times) if times else None,
        tokens=config.batch_size * config.gradient_accumulation_steps * float(np.mean(lengths)),
        peak_memory_bytes=memory,
        adapter_bytes=saved,
    )


def _train(planned: RunPlan, folder: RunWriter, before: Run | None) -> None:
    training = planned.config.training
    set_seed(planned.config.seed)
    peak = PeakMemory.start(planned.base.device)
    shape = BlockFingerprint.of(planned.base)
    model = checkpoint.attach(planned.base.model, planned.config.method, planned.method_config)
    if before is not None:
        checkpoint.load_for_training(model, before)
    read = TokenizedTask.of(planned.base, planned.task, training.max_length)
    results = folder.facts(sum(p.numel() for p in model.parameters() if p.requires_grad), read)
    if before is None:
        _calibrate(planned, model, read.encoder, read.train)
    feed = TrainingLoader.of(read.encoder, read.train, training)
    if feed.epochs >= REUSED:
        lower = FrozenBlockCache.of(planned.base, model, shape, read.encoder, feed.rows)
        feed = replace(feed, lower=lower if lower.names else None)
    folder.checkpoint(model, 0)
    started, diverged = time.perf_counter(), None
    if training.max_steps:
        try:
            results["optimizer_state_bytes"] = _loop(planned, model, feed, folder)
        except DivergenceError as found:
            diverged = found
    spent = {"seconds": time.perf_counter() - started, "peak_memory_bytes": peak.bytes()}
    validate_and_record(model, read, folder, results, diverged)
    folder.timing(spent)
    folder.finish(model, results)


def validate_and_record(
    model: nn.Module,
    read: TokenizedTask,
    folder: RunWriter,
    results: dict[str, Any],
    at: DivergenceError | None,
) -> None:
    """Add to the results how well the model does on the validation split, or where it diverged."""
    try:
        if at is not None:
            raise at
        scores = _validate(model.eval(), read, results["steps"])
    except DivergenceError as diverged:
        results["steps"] = diverged.steps
        folder.metrics({"step": diverged.steps, "diverged": True})
    else:
        results |= scores
        folder.metrics({"step": results["steps"], **scores})


def _calibrate(
    planned: RunPlan, model: nn.Module, encoder: Collator, items: list[TokenizedExample]
) -> None:
    """Let a method that wants to look at training examples first do so."""
    if hasattr(planned.method, "calibrate"):
        losses = _single_losses(model, encoder, items, planned.config.seed)
        planned.method.calibrate(model, planned.method_config, losses)


def _single_losses(
    model: nn.Module, encoder: Collator, items: list[TokenizedExample], seed: int
) -> Iterator[torch.Tensor]:
    """Loss of one training example after another, nats, in an order drawn by the seed."""
    for index in np.random.default_rng(seed).permutation(len(items)):
        row = items[index].rows[items[index].correct]
        yield answer_loss(model, encoder.batch([row]))


def _loop(planned: RunPlan, model: nn.Module, feed: TrainingLoader, folder: RunWriter) -> int:
    """The optimizer's steps; returns the bytes that it holds beside the weights.

    Raises:
        DivergenceError: a loss or gradient is not finite; the step that it belongs to is not taken.
    """
    config = planned.config.training
    # accelerate keeps the first device of a process; another run may be on another one
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=planned.base.device == "cpu")
    hooks = _Hooks.of(planned, model)
    stepper = OptimizerStep(model.parameters(), config, hooks.optimizer)
    batches = feed.steps(planned.config.seed)
    model.train()
    with bar(f"Training {planned.config.method}", config.max_steps) as shown:
        for step in range(1, config.max_steps + 1):
            started = time.perf_counter()
            rows = next(batches)
            loss = _gradients(model, feed, rows, accelerator)
            if hooks.regularization_loss:
                accelerator.backward(hooks.regularization_loss())
            taken = stepper.step(step, loss)
            if hooks.after_step:
                hooks.after_step(step, config.max_steps)
            stepper.zero_grad()
            speed = folder.step(taken, tokens(rows), time.perf_counter() - started)
            shown.advance(f"loss {loss:.3f}, {speed:.0f} tokens/s")
            if step < config.max_steps:
                folder.checkpoint(model, step)
    return stepper.state_bytes


def tokens(rows: list[list[TokenizedAnswer]]) -> int:
    """That the model reads in one step, all its forward passes together."""
    return sum(length(row) for part in rows for row in part)


@dataclass(frozen=True)
class _Hooks:
    """What a method adds to the loop, where it adds anything; see methods/__init__.py."""

    optimizer: Callable[[float, float], torch.optim.Optimizer] | None
    regularization_loss: Callable[[], torch.Tensor] | None
    after_step: Callable[[int, int], None] | None

    @classmethod
    def of(cls, planned: RunPlan, model: nn.Module) -> "_Hooks":
        found = (getattr(planned.method, field.name, None) for field in fields(cls))
        return cls(*(hook and partial(hook, model, planned.method_config) for hook in found))


def _gradients(
    model: nn.Module,
    feed: TrainingLoader,
    parts: list[list[TokenizedAnswer]],
    accelerator: Accelerator,
) -> float:
    """Add up the gradients of the mean loss over all parts' tokens; returns that loss, nats."""
    targets = sum(row.scored for part in parts for row in part)
    total = 0.0
    for part in parts:
        batch = feed.encoder.batch(part)
        with feed.reading(part), attention(batch):
            loss = answer_loss(model, batch) / targets
        accelerator.backward(loss)
        total += loss.item()
    return total


def attention(batch: Batch) -> AbstractContextManager[Any]:
    """How attention is computed for a batch, and so in its gradient too.

    On a CPU the gradient of torch's fused attention takes 5 ms for a layer of a batch of short rows
    whatever their length; plain products take a tenth of it, and a step of 12-token rows a fifth
    less in all. Their memory grows with the square of the length, so long rows stay fused.
    """
    ids = batch.inputs["input_ids"]
    short = ids.shape[1] <= SHORT and ids.device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if short else nullcontext()


def _validate(model: nn.Module, read: TokenizedTask, steps: int) -> dict[str, float]:
    choices = choose(model, read.encoder, read.validation, "Validating")
    scores = {"validation_loss": float(choices.loss.mean())}
    if not math.isfinite(scores["validation_loss"]):
        raise DivergenceError(steps)
    if len(read.validation[0].rows) > 1:
        scores["validation_accuracy"] = float((choices.by_sum == choices.correct).mean())
    return scores

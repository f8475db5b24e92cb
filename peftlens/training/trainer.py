"""Training loop over a batch of runs; most often a batch of one.

Adapters are trained and computed in float32, the base in its dtype. Trained weights of the base
(full fine-tuning, selected layers) stay in that dtype in the model, while the optimizer
works on float32 copies of them: see master_weights.py. Batches of several runs: batched_trainer.py.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.task_heads import load_for_training
from peftlens.data.collate import length
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import loss_of
from peftlens.io.progress import bar
from peftlens.models.architecture import count_trainable
from peftlens.models.heads import head_parameters, head_seed
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.runs.store import build
from peftlens.training import keep
from peftlens.training.attention_backend import attention_backend
from peftlens.training.compiled_blocks import compile_blocks
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.frozen_block_cache import BlockFingerprint, FrozenBlockCache
from peftlens.training.peak_memory import PeakMemory
from peftlens.training.preference_loss import PreferencePairs
from peftlens.training.run_plan import RunPlan, plan_run
from peftlens.training.run_writer import RunWriter
from peftlens.training.token_counts import token_counts
from peftlens.training.train_state import TrainState
from peftlens.training.validation import validate

MIN_CACHED_EPOCHS = 1.0  # from here on every row is computed anyway, so caching is free

# function from runs and the rows of each to the summed loss of each run, nats
ForwardPass = Callable[
    [Sequence["TrainState"], Sequence[list[TokenizedAnswer]]], list[torch.Tensor]
]


def train(config: RunConfig, out: str | Path, *, trust_remote_code: bool = False) -> Run:
    """Train a run, or open it if it is already trained.

    Args:
        config: configuration of the run.
        out: folder of runs, in which the run's folder is created, named by its id.
        trust_remote_code: whether Python code from the base model's folder may run.

    Raises:
        InputError: see `plan_run`.
    """
    context = RunContext(trust_remote_code=trust_remote_code)
    return train_run(plan_run(config, context), Path(out))


def train_run(planned: RunPlan, out: Path, *, compiled: bool = False) -> Run:
    """Train a planned run unless its folder exists.

    Args:
        planned: plan of the run.
        out: folder of runs.
        compiled: whether training passes run compiled blocks, where they can be compiled.

    Raises:
        RunLockedError: another process is training it.
        RuntimeError: the method changed the base, so that its adapter is incomplete.
    """

    def write(folder: Path) -> None:
        previous = planned.config.continue_from
        with restored_after(planned.base.model):
            writer = open_writer(planned, folder)
            _train(planned, writer, Run(out / previous) if previous else None, compiled)
        require_unchanged(planned)

    return Run(build(out, planned.id, write))


def require_unchanged(planned: RunPlan) -> None:
    """Discard a base that a run has changed.

    Raises:
        RuntimeError: the base has changed.
    """
    if planned.base.changed():
        planned.base_models.discard()
        raise RuntimeError(
            f"the base model was left changed; this is a defect of {planned.config.method}"
        )


def open_writer(planned: RunPlan, folder: Path) -> RunWriter:
    """Create the writer of a planned run's folder."""
    return RunWriter(
        path=folder,
        method=planned.config.method,
        method_config=planned.method_config,
        origin=planned.base.origin,
    )


def _train(planned: RunPlan, writer: RunWriter, previous: Run | None, compiled: bool) -> None:
    training = planned.config.training
    task = TokenizedTask.of(planned.base, planned.task, training.sequence_length)
    pairs = preference_pairs(planned, task)
    loader = TrainingLoader.of(task.collator, task.train, training)
    set_seed(planned.config.seed)
    peak = PeakMemory.start(planned.base.device)
    kept = keep.prepare(planned, loader, previous)
    fingerprint = BlockFingerprint.of(planned.base)
    model = attach_planned(planned)
    term = kept(model) if kept else None
    if previous:
        load_for_training(model, previous, planned.config.task)
    results = initial_results(planned, task, count_trainable(model.parameters()))
    if planned.base.head:
        of_head = head_parameters(planned.base.model).values()
        results["trainable_in_head"] = count_trainable(of_head)
    if not previous:
        calibrate(planned, model, task)
    if loader.epochs >= MIN_CACHED_EPOCHS and not pairs:
        cache = FrozenBlockCache.of(planned.base, model, fingerprint, task.collator, loader.rows)
        loader = replace(loader, cache=cache if cache.names else None)
    if 0 in training.checkpoint_steps:
        writer.save_checkpoint(model, 0)
    state = TrainState.of_single_run(planned, writer, model, loader, results, pairs, term)
    compiled = compiled and compile_blocks(planned.base)
    started = time.perf_counter()
    if training.max_steps:
        run_training_loop([state], model, partial(single_run_loss, model, loader))
    timing = {"seconds": time.perf_counter() - started, "peak_memory_bytes": peak.bytes()}
    if term:
        results["keep"], timing["keep_seconds"] = term.counts, term.seconds
    validate_and_record(state, model, task, timing, **({"compiled": True} if compiled else {}))


def attach_planned(planned: RunPlan) -> nn.Module:
    """Attach a planned run's method to its base, and return the model to train."""
    config = planned.config
    seed = head_seed(config.seed, planned.depends_on["data"])
    return checkpoint.attach(planned.base.model, config.method, planned.method_config, seed)


def initial_results(planned: RunPlan, task: TokenizedTask, trainable: int) -> dict[str, Any]:
    """Collect the results before the first step.

    Args:
        planned: plan of the run.
        task: task of the run as token ids.
        trainable: number of parameters that the optimizer changes.
    """
    return {
        "steps": planned.config.training.max_steps,
        "trainable_parameters": trainable,
        "base_parameters": sum(math.prod(shape) for shape in planned.shapes.values()),
        "examples": {name: len(split) for name, split in planned.task.splits.items()},
        "n_dropped": dict(planned.task.dropped),
        **({"data_notes": [*planned.task.notes]} if planned.task.notes else {}),
        "n_truncated": task.truncated,
        "training_tokens": asdict(token_counts(task, planned.config.training.loss)),
    }


def calibrate(planned: RunPlan, model: nn.Module, task: TokenizedTask) -> None:
    """Pass training examples to a method that uses them before the first step."""
    if hasattr(planned.method, "calibrate"):
        losses = _example_losses(model, task, planned.config.seed)
        planned.method.calibrate(model, planned.method_config, losses)


def _example_losses(model: nn.Module, task: TokenizedTask, seed: int) -> Iterator[torch.Tensor]:
    """Yield the losses of single training examples in a random order, nats."""
    for index in np.random.default_rng(seed).permutation(len(task.train)):
        example = task.train[index]
        yield loss_of(task.collator)(model, task.collator.batch([example.rows[example.correct]]))


def preference_pairs(planned: RunPlan, task: TokenizedTask) -> PreferencePairs | None:
    """Pair the training examples and score them by the base, if the run learns preferences."""
    training = planned.config.training
    if training.loss != "dpo":
        return None
    base, collator = planned.base.model, task.collator
    return PreferencePairs.of(base, collator, task.train, training.dpo_beta)


def single_run_loss(
    model: nn.Module,
    loader: TrainingLoader,
    states: Sequence[TrainState],
    rows_by_run: Sequence[list[TokenizedAnswer]],
) -> list[torch.Tensor]:
    """Compute the loss of a batch of one run."""
    (rows,), (state,) = rows_by_run, states
    if state.pairs:
        return [state.pairs.loss(model, loader.collator, rows)]
    batch = loader.collator.batch(rows)
    with loader.skipping_frozen_blocks(rows), attention_backend(batch):
        if state.keep and state.keep.others:
            return [state.keep.loss_with_others(state.keep.others, model, batch, rows)]
        return [loss_of(loader.collator)(model, batch)]


def run_training_loop(states: Sequence[TrainState], model: nn.Module, forward: ForwardPass) -> None:
    """Take all optimizer steps of runs with equal numbers of steps, rows and checkpoints.

    A run that diverges stops there, and the other runs continue.

    Args:
        states: states of the runs.
        model: model that `forward` runs.
        forward: function for one forward pass of all runs.
    """
    config = states[0].planned.config.training
    active = {state: state.make_optimizer() for state in states}
    model.train()
    with bar(_title(states), config.max_steps) as progress:
        for step in range(1, config.max_steps + 1):
            started = time.perf_counter()
            batches = [next(state.batches) for state in active]
            losses = accumulate_gradients([*active], batches, forward)
            lines = [
                state.step(optimizer, step, loss)
                for (state, optimizer), loss in zip(active.items(), losses, strict=True)
            ]
            seconds = time.perf_counter() - started
            tokens = [sum(length(row) for rows in passes for row in rows) for passes in batches]
            for state, line, count in zip(active, lines, tokens, strict=True):
                if line:
                    state.log(line, count, seconds / len(active))
            active = {state: one for state, one in active.items() if not state.diverged}
            if not active:
                return
            if step < config.max_steps and step in config.checkpoint_steps:
                _save_checkpoints(active, step)
            progress.advance(f"loss {np.mean(losses):.3f}, {sum(tokens) / seconds:.0f} tokens/s")
    for state, optimizer in active.items():
        state.results["optimizer_state_bytes"] = optimizer.state_bytes


def _title(states: Sequence[TrainState]) -> str:
    method = states[0].planned.config.method
    return f"Training {method}" if len(states) == 1 else f"Training {len(states)} x {method}"


def _save_checkpoints(states: Iterable[TrainState], step: int) -> None:
    for state in states:
        with state.open_model() as model:
            state.writer.save_checkpoint(model, step)


def accumulate_gradients(
    states: Sequence[TrainState],
    batches: Sequence[list[list[TokenizedAnswer]]],
    forward: ForwardPass,
) -> list[float]:
    """Add up each run's gradients over the forward passes of one optimizer step.

    Args:
        states: states of the runs.
        batches: rows of each forward pass, for each run.
        forward: function for one forward pass of all runs.

    Returns:
        Each run's loss per scored token, or per pair of preferences, nats, without its
        regularization.
    """
    targets = [
        sum(map(state.weight, passes)) for state, passes in zip(states, batches, strict=True)
    ]
    totals = [0.0] * len(states)
    kept = [(at, state.keep) for at, state in enumerate(states) if state.keep]
    for at, term in kept:
        term.start_step(batches[at])
    for rows_by_run in zip(*batches, strict=True):
        sums = forward(states, rows_by_run)
        losses = [loss / count for loss, count in zip(sums, targets, strict=True)]
        torch.autograd.backward(losses)
        totals = [total + loss.item() for total, loss in zip(totals, losses, strict=True)]
    for state in states:
        if state.hooks.regularization_loss:
            state.hooks.regularization_loss().backward()
    for at, term in kept:
        term.add_gradient()
        totals[at] -= term.in_loss
    return totals


def validate_and_record(
    state: TrainState,
    model: nn.Module,
    task: TokenizedTask,
    timing: dict[str, Any],
    **environment_extras: Any,
) -> None:
    """Score the trained model on the validation split, and complete the run's folder.

    A run whose validation loss is not finite has diverged, too.
    """
    writer, planned, results = state.writer, state.planned, state.results
    scores = {} if state.diverged else validate(model.eval(), task)
    results |= scores
    writer.log_metrics({"step": results["steps"]} | (scores or {"diverged": True}))
    writer.log_timing(timing)
    writer.save_adapter(model)
    writer.write_record(
        config=planned.config,
        configuration=planned.configuration,
        depends_on=planned.depends_on,
        results=results,
        diverged=not scores,
        **environment_extras,
    )

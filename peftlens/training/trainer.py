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
from peftlens.runs.paused import Pause, PausedRun, keep_paused, latest, pause
from peftlens.runs.run import Run
from peftlens.runs.store import build
from peftlens.training import keep
from peftlens.training.attention_backend import attention_backend
from peftlens.training.compiled_blocks import compile_blocks
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.frozen_block_cache import BlockFingerprint, FrozenBlockCache
from peftlens.training.pause import resume, save_state
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


def train_run(planned: RunPlan, out: Path) -> Run:
    """Train a planned run unless its folder exists; from its last step if it is paused.

    Raises:
        RunLockedError: another process is training it.
        RuntimeError: the method changed the base, so that its adapter is incomplete.
    """

    def write(folder: Path) -> None:
        train_in(folder, planned, out, latest(out, planned.id, planned.config.training.max_steps))

    return Run(build(out, planned.id, write))


def train_in(
    folder: Path, planned: RunPlan, out: Path, paused: PausedRun | None, until: int | None = None
) -> None:
    """Train a run in a folder; if it is paused there, move the folder to its place."""
    previous = planned.config.continue_from
    with restored_after(planned.base.model):
        writer = open_writer(planned, folder)
        finished = _train(planned, writer, Run(out / previous) if previous else None, paused, until)
    require_unchanged(planned)
    if until and not finished:
        keep_paused(folder, out, planned.id, until)


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


def _train(
    planned: RunPlan,
    writer: RunWriter,
    previous: Run | None,
    paused: PausedRun | None = None,
    until: int | None = None,
) -> bool:
    """Train a run from its start or a pause; return whether it is finished, and not paused."""
    state, model, loader, task, peak = _prepare(planned, writer, previous)
    before = resume(state, model, paused) if paused else Pause(run=planned.id)
    compiled = planned.compiled and compile_blocks(planned.base)
    started = time.perf_counter()
    if planned.config.training.max_steps:
        forward = partial(single_run_loss, model, loader)
        run_training_loop([state], model, forward, before.step, until)
    now = before.after(time.perf_counter() - started, peak.bytes())
    if until and not state.diverged:
        pause_in(state, model, task, now, until)
        return False
    timing = {"seconds": now.seconds, "peak_memory_bytes": now.peak_memory_bytes}
    if state.keep:
        state.results["keep"], timing["keep_seconds"] = state.keep.counts, state.keep.seconds
    validate_and_record(state, model, task, timing, **({"compiled": True} if compiled else {}))
    return True


def pause_in(
    state: TrainState, model: nn.Module, task: TokenizedTask, before: Pause, step: int
) -> None:
    """Complete the folder of a run that is paused after a step with its state and scores."""
    save_state(state, model, state.writer.path)
    pause(before.at(step, validate(model.eval(), task)), state.writer.path)


def _prepare(
    planned: RunPlan, writer: RunWriter, previous: Run | None
) -> tuple[TrainState, nn.Module, TrainingLoader, TokenizedTask, PeakMemory]:
    """Do all that comes before the first step."""
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
    return state, model, loader, task, peak


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


def run_training_loop(
    states: Sequence[TrainState],
    model: nn.Module,
    forward: ForwardPass,
    done: int = 0,
    until: int | None = None,
) -> None:
    """Take all optimizer steps of runs with equal numbers of steps, rows and checkpoints.

    A run that diverges stops there, and the other runs continue.

    Args:
        states: states of the runs.
        model: model that `forward` runs.
        forward: function for one forward pass of all runs.
        done: number of steps taken before.
        until: last step to take; None for the last of all.
    """
    config, active = states[0].planned.config.training, [*states]
    last = until or config.max_steps
    _begin(states, model)
    with bar(_title(states), config.max_steps, done) as progress:
        for step in range(done + 1, last + 1):
            started = time.perf_counter()
            batches = [next(state.batches) for state in active]
            losses = accumulate_gradients(active, batches, forward)
            lines = [state.step(step, loss) for state, loss in zip(active, losses, strict=True)]
            seconds = time.perf_counter() - started
            tokens = [sum(length(row) for rows in passes for row in rows) for passes in batches]
            for state, line, count in zip(active, lines, tokens, strict=True):
                if line:
                    state.log(line, count, seconds / len(active))
            active = [state for state in active if not state.diverged]
            if not active:
                return
            if step < config.max_steps and step in config.checkpoint_steps:
                _save_checkpoints(active, step)
            progress.advance(f"loss {np.mean(losses):.3f}, {sum(tokens) / seconds:.0f} tokens/s")
    if last == config.max_steps:
        for state in active:
            state.results["optimizer_state_bytes"] = state.optimizer.state_bytes
            state.free_optimizer()


def _begin(states: Iterable[TrainState], model: nn.Module) -> None:
    for state in states:
        state.create_optimizer()
    model.train()


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

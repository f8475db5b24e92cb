"""Train several runs of one method in one pass over the base: ranks, rates and seeds of a sweep.

Each run has a separate order of the data, optimizer, learning rate and schedule; its adapter is
applied to its rows only, and a run that diverges does not affect the others. See
layers/batched_adapters.py for the forward pass. It saves time where a single run underuses the
device, as a small model does on a GPU.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import set_seed
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.io.files import canonical_json, sha256_text
from peftlens.layers.batched_adapters import AdapterBatch, BatchedPart
from peftlens.models.architecture import has_dropout
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.runs.lock import RunLockedError
from peftlens.runs.paused import Pause, PausedRun, keep_paused, latest
from peftlens.runs.run import Run
from peftlens.runs.store import building
from peftlens.training.attention_backend import attention_backend
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.pause import resume
from peftlens.training.run_plan import RunPlan
from peftlens.training.run_writer import RunWriter
from peftlens.training.train_state import TrainState
from peftlens.training.trainer import (
    initial_results,
    open_writer,
    pause_in,
    require_unchanged,
    run_training_loop,
    validate_and_record,
)

Parts = Mapping[str, BatchedPart]  # by the dotted name of a module of the base
_Start = tuple[RunPlan, RunWriter, PausedRun | None]


def batch_key(planned: RunPlan) -> str | None:
    """Return a key that is equal for runs that can share a pass; None for a run trained alone."""
    batchable = getattr(planned.method, "batchable_fields", None)
    varies = batchable and batchable(planned.method_config)
    config = planned.config
    if (
        varies is None
        or config.continue_from
        or config.training.loss != "sft"
        or config.training.keep
        or not config.training.max_steps
        or not planned.base.derived("independent rows", lambda: _has_independent_rows(planned.base))
    ):
        return None
    shared = config.model_dump(mode="json", exclude={"seed"})
    shared["data"] = planned.task.sha256  # shuffled labels differ between seeds
    del shared["training"]["learning_rate"]
    for name in varies:
        del shared["method_config"][name]
    return sha256_text(canonical_json(shared))[:12]


def _has_independent_rows(base: BaseModel) -> bool:
    """Whether the base computes each row of a batch independently and without randomness."""
    model = base.model
    routed = any(name.startswith("num_") and "expert" in name for name in vars(model.config))
    return base.head is None and not routed and not any(map(has_dropout, model.modules()))


def train_runs(plans: Sequence[RunPlan], out: Path) -> list[Run]:
    """Train planned runs of one `batch_key` and return the finished ones.

    Runs that another process is training are skipped. Those that are paused are resumed.

    Raises:
        RuntimeError: the method changed the base, so that its adapters are incomplete.
    """
    train_together(plans, out)
    return [Run(out / planned.id) for planned in plans if (out / planned.id).exists()]


def train_together(plans: Sequence[RunPlan], out: Path, until: int | None = None) -> None:
    """Train planned runs of one `batch_key`, to their end or until a step, and pause them there.

    Runs that have taken equal numbers of steps share passes.

    Raises:
        RuntimeError: the method changed the base, so that its adapters are incomplete.
    """
    with ExitStack() as stack:
        starts: dict[int, list[_Start]] = defaultdict(list)
        for planned in plans:
            with suppress(RunLockedError):
                if folder := stack.enter_context(building(out, planned.id)):
                    last = until or planned.config.training.max_steps
                    paused = latest(out, planned.id, last)
                    done = paused.step if paused else 0
                    if done == until:
                        folder.rmdir()
                    else:
                        starts[done].append((planned, open_writer(planned, folder), paused))
        for together in starts.values():
            unfinished = _train(together, until)
            require_unchanged(plans[0])
            for state in unfinished:
                keep_paused(state.writer.path, out, state.planned.id, int(until or 0))


def _train(starts: Sequence[_Start], until: int | None) -> list[TrainState]:
    """Train runs that have taken equal numbers of steps; return those that are paused."""
    first = starts[0][0]
    base = first.base.model
    task = TokenizedTask.of(first.base, first.task, first.config.training.sequence_length)
    parts = dict(_initialize(planned, writer, task) for planned, writer, _ in starts)
    before = {}
    for state, (_, _, paused) in zip(parts, starts, strict=True):
        with state.open_model() as model:
            before[state] = resume(state, model, paused) if paused else Pause(run=state.planned.id)
    with restored_after(base):
        adapters = AdapterBatch(base, next(iter(parts.values())))
        forward = _BatchedForward(base, task.collator, adapters, parts)
        started = time.perf_counter()
        run_training_loop([*parts], base, forward, next(iter(before.values())).step, until)
        seconds = (time.perf_counter() - started) / len(parts)
    for state, start in before.items():
        now = start.after(seconds, None)
        with state.open_model() as model:
            if until and not state.diverged:
                pause_in(state, model, task, now, until)
                continue
            timing = {"seconds": now.seconds, "peak_memory_bytes": None}
            validate_and_record(state, model, task, timing, trained_together=len(parts))
    return [state for state in before if until and not state.diverged]


def _initialize(
    planned: RunPlan, writer: RunWriter, task: TokenizedTask
) -> tuple[TrainState, Parts]:
    """Initialize state and parts of a run with the random numbers of training it alone."""
    config = planned.config
    set_seed(config.seed)
    with _attached(planned) as model:
        parts = planned.method.trainable_parts(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        in_parts = [p for part in parts.values() for p in part.parameters()]
        if {*map(id, trained)} != {*map(id, in_parts)}:
            raise RuntimeError(f"{config.method} trains parameters that are in none of its parts")
        if 0 in config.training.checkpoint_steps:
            writer.save_checkpoint(model, 0)
    state = TrainState(
        planned=planned,
        writer=writer,
        parameters=trained,
        batches=TrainingLoader.of(task.collator, task.train, config.training).steps(config.seed),
        open_model=partial(_open_model, planned, parts),
        results=initial_results(planned, task, sum(p.numel() for p in trained)),
    )
    return state, parts


@contextmanager
def _attached(planned: RunPlan) -> Iterator[nn.Module]:
    """Attach a newly initialized method of a run to the base."""
    with restored_after(planned.base.model) as base:
        yield checkpoint.attach(base, planned.config.method, planned.method_config)


@contextmanager
def _open_model(planned: RunPlan, parts: Parts) -> Iterator[nn.Module]:
    """Open a run's separate model, with the current weights of its parts."""
    with _attached(planned) as model, torch.no_grad():
        for name, part in planned.method.trainable_parts(model).items():
            for target, value in zip(part.parameters(), parts[name].parameters(), strict=True):
                target.copy_(value)
        yield model


@dataclass(frozen=True)
class _BatchedForward:
    """One forward pass of the base over the rows of several runs.

    Attributes:
        model: base model.
        collator: collator of its batches.
        adapters: parts of the runs, applied to the base model.
        parts: trainable parts of each run.
    """

    model: nn.Module
    collator: Collator
    adapters: AdapterBatch
    parts: Mapping[TrainState, Parts]

    def __call__(
        self, states: Sequence[TrainState], rows_by_run: Sequence[list[TokenizedAnswer]]
    ) -> list[torch.Tensor]:
        """Compute the summed loss of each run over its rows, nats."""
        # the last batch of an epoch may be smaller, and comes at another step in each run
        most = max(map(len, rows_by_run))
        padded = [[*rows, *[rows[0]] * (most - len(rows))] for rows in rows_by_run]
        batch = self.collator.batch([row for rows in padded for row in rows])
        parts = [self.parts[state] for state in states]
        with self.adapters.applied(parts), attention_backend(batch):
            logits = answer_logits(self.model, batch)  # (n, V), runs one after another
        losses = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        by_run = losses.split([_scored_tokens(rows) for rows in padded])
        return [
            run_losses[: _scored_tokens(rows)].sum()
            for run_losses, rows in zip(by_run, rows_by_run, strict=True)
        ]


def _scored_tokens(rows: Sequence[TokenizedAnswer]) -> int:
    return sum(row.scored for row in rows)

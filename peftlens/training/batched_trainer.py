"""Train several runs of one method in one pass over the base: ranks, rates and seeds of a sweep.

Each run keeps its own order of the data, its own optimizer, rate and schedule; what it trains sees
its own rows only, and one that diverges leaves the others as they are. See layers/batched_adapters.py for
the pass. It pays where one run leaves the device idle, as small models do a GPU.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator, TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.io.files import canonical_json, sha256_text
from peftlens.io.progress import bar
from peftlens.layers.batched_adapters import AdapterBatch, BatchedPart
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import Run
from peftlens.runs.store import RunLockedError, building
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.frozen_block_cache import has_dropout
from peftlens.training.optimizer import DivergenceError, OptimizerStep
from peftlens.training.run_plan import RunPlan
from peftlens.training.run_writer import RunWriter
from peftlens.training.trainer import attention, require_unchanged, tokens, validate_and_record


def batch_key(planned: RunPlan) -> str | None:
    """Equal for runs that can be trained in one pass; None for one that is trained alone."""
    batchable = getattr(planned.method, "batchable_fields", None)
    varies = batchable and batchable(planned.method_config)
    config = planned.config
    if (
        varies is None
        or config.continue_from
        or not config.training.max_steps
        or not _plain(planned)
    ):
        return None
    shared = config.model_dump(mode="json", exclude={"seed"})
    del shared["training"]["learning_rate"]
    for name in varies:
        del shared["method_config"][name]
    return sha256_text(canonical_json(shared))[:12]


def _plain(planned: RunPlan) -> bool:
    """Whether each row of a batch goes its own way, and none by chance."""
    model = planned.base.model
    routed = any(name.startswith("num_") and "expert" in name for name in vars(model.config))
    return not routed and not any(map(has_dropout, model.modules()))


def train_runs(plans: Sequence[RunPlan], out: Path) -> list[Run]:
    """Train planned runs of one `key`; returns those that are there in the end.

    A run that another process builds is left to it.

    Raises:
        RuntimeError: the method left the base changed, and so what it saved is not all it did.
    """
    with ExitStack() as held:
        runs = []
        for one in plans:
            with suppress(RunLockedError):
                if folder := held.enter_context(building(out, one.id)):
                    runs.append(_Training(one, RunWriter(folder, one)))
        if runs:
            _train(runs)
            require_unchanged(plans[0])
    return [Run(out / one.id) for one in plans if (out / one.id).exists()]


@dataclass(eq=False)
class _Training:
    """One of the runs under way.

    Attributes:
        planned: the run.
        folder: where it is kept.
        parts: what it trains, by the modules of the base that they belong to.
        batches: its rows of each step, by forward passes.
        stepper: its optimizer.
        diverged: where it did.
        results: what is known of them.
    """

    planned: RunPlan
    folder: RunWriter
    parts: Mapping[str, BatchedPart] = field(init=False)
    batches: Iterator[list[list[TokenizedAnswer]]] = field(init=False)
    stepper: OptimizerStep = field(init=False)
    diverged: DivergenceError | None = None
    results: dict[str, Any] = field(init=False)

    def begin(self, read: TokenizedTask) -> None:
        """Draw what the seed decides, as a run that is trained alone does."""
        config = self.planned.config
        set_seed(config.seed)
        with self._attached() as model:
            self.parts = self.planned.method.trainable_parts(model)
            trained = [p for p in model.parameters() if p.requires_grad]
            mine = [p for part in self.parts.values() for p in part.parameters()]
            if {*map(id, trained)} != {*map(id, mine)}:
                raise RuntimeError(f"not all that {config.method} trains is in its parts")
            self.folder.checkpoint(model, 0)
        self.results = self.folder.facts(sum(p.numel() for p in trained), read)
        self.stepper = OptimizerStep(trained, config.training)
        self.batches = TrainingLoader.of(read.encoder, read.train, config.training).steps(
            config.seed
        )

    @contextmanager
    def _attached(self) -> Iterator[nn.Module]:
        planned = self.planned
        with restored_after(planned.base.model) as base:
            yield checkpoint.attach(base, planned.config.method, planned.method_config)

    @contextmanager
    def model(self) -> Iterator[nn.Module]:
        """The run's model as one that is trained alone has it, with what it has trained by now."""
        with self._attached() as model, torch.no_grad():
            for name, part in self.planned.method.trainable_parts(model).items():
                own = self.parts[name].parameters()
                for target, value in zip(part.parameters(), own, strict=True):
                    target.copy_(value)
            yield model


def _train(runs: list[_Training]) -> None:
    first = runs[0].planned
    read = TokenizedTask.of(first.base, first.task, first.config.training.max_length)
    for run in runs:
        run.begin(read)
    with restored_after(first.base.model):
        started = time.perf_counter()
        _loop(runs, first.base.model, read.encoder)
        seconds = (time.perf_counter() - started) / len(runs)
    for run in runs:
        if run.diverged is None:
            run.results["optimizer_state_bytes"] = run.stepper.state_bytes
        with run.model() as model:
            validate_and_record(model, read, run.folder, run.results, run.diverged)
            run.folder.timing({"seconds": seconds, "peak_memory_bytes": None})
            run.folder.finish(model, run.results, trained_together=len(runs))


def _loop(runs: Sequence[_Training], model: nn.Module, encoder: Collator) -> None:
    """The optimizers' steps, until all are taken or no run is left that has not diverged."""
    config = runs[0].planned.config.training
    stack = AdapterBatch(model, [run.parts for run in runs])
    model.train()
    going = list(runs)
    with bar(f"Training {len(runs)} x {runs[0].planned.config.method}", config.max_steps) as shown:
        for step in range(1, config.max_steps + 1):
            started = time.perf_counter()
            rows = [next(run.batches) for run in going]
            losses = _gradients(model, encoder, rows)
            taken = [_taken(run, step, loss) for run, loss in zip(going, losses, strict=True)]
            seconds = (time.perf_counter() - started) / len(going)
            for run, own, line in zip(going, rows, taken, strict=True):
                if line is not None:
                    run.folder.step(line, tokens(own), seconds)
            going = [run for run in going if run.diverged is None]
            if not going:
                return
            stack.runs = [run.parts for run in going]
            if step < config.max_steps and step in config.checkpoint_steps:
                with stack.off():
                    for run in going:
                        with run.model() as own:
                            run.folder.checkpoint(own, step)
            read = sum(map(tokens, rows)) / (seconds * len(rows))
            shown.advance(f"loss {sum(losses) / len(losses):.3f}, {read:.0f} tokens/s")


def _taken(run: _Training, step: int, loss: float) -> dict[str, float] | None:
    """One run's step; None if it diverged."""
    try:
        taken = run.stepper.step(step, loss)
    except DivergenceError as diverged:
        run.diverged = diverged
        return None
    run.stepper.zero_grad()
    return taken


def _gradients(
    model: nn.Module, encoder: Collator, rows: Sequence[Sequence[list[TokenizedAnswer]]]
) -> list[float]:
    """Add up each run's gradients of its mean loss over its tokens; returns these losses, nats."""
    targets = [sum(row.scored for part in own for row in part) for own in rows]
    totals = [0.0] * len(rows)
    for parts in zip(*rows, strict=True):
        most = max(map(len, parts))
        # the last batch of an epoch may be smaller, and comes at another step in each run
        even = [row for part in parts for row in [*part, *[part[0]] * (most - len(part))]]
        batch = encoder.batch(even)
        with attention(batch):
            logits = answer_logits(model, batch)
        losses = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        sizes = [sum(row.scored for row in even[i : i + most]) for i in range(0, len(even), most)]
        means = [
            of_run[: sum(row.scored for row in part)].sum() / n
            for of_run, part, n in zip(losses.split(sizes), parts, targets, strict=True)
        ]
        torch.stack(means).sum().backward()
        totals = [total + mean.item() for total, mean in zip(totals, means, strict=True)]
    return totals

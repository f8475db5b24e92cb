"""Train one run: one plain loop.

Adapters are trained and computed in float32 on a base in its own dtype. Weights that live in the
base (full fine-tuning, selected layers) stay in the base's dtype in the model, while the optimizer
works on float32 copies of them: see masters.py.
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
from transformers import get_scheduler

from peftlens.encoding import Batch, Encoder, Item, Row, length
from peftlens.errors import BadInput
from peftlens.feeding import Feed
from peftlens.lower import Lower, Shape
from peftlens.masters import Masters
from peftlens.memory import Peak
from peftlens.models import adapters
from peftlens.models.base import discard_resident
from peftlens.models.lending import lent
from peftlens.planning import Plan, plan
from peftlens.progress import bar
from peftlens.run import SCHEMA, Record, Run, RunConfig, TrainingConfig, environment
from peftlens.scoring import answer_loss, choose
from peftlens.store import build, seal

SHORT = 64  # tokens of a row up to which a CPU computes attention by plain products
REUSED = 1.0  # epochs from which on all rows are read, so that reading them ahead costs nothing


def train(config: RunConfig, out: str | Path, *, trust_remote_code: bool = False) -> Run:
    """Train a run, or find it already trained.

    Args:
        config: what to train.
        out: the folder of runs; the run's own folder is made below it, named by its id.
        trust_remote_code: run Python that the base model's folder brings along.

    Raises:
        BadInput: see `plan`.
    """
    return carry_out(plan(config, trust_remote_code), Path(out))


def carry_out(planned: Plan, out: Path) -> Run:
    """Train a planned run unless its folder exists.

    Raises:
        Claimed: another process is training it.
        RuntimeError: its method left the base changed, and so what it saved is not all it did.
    """

    def fill(folder: Path) -> None:
        before = None if planned.config.after is None else Run(out / planned.config.after)
        with lent(planned.base.model):
            _train(planned, _Folder(folder, planned), before)
        if planned.base.changed():
            discard_resident()
            raise RuntimeError(
                f"the base model was left changed; this is a defect of {planned.config.method}"
            )

    return Run(build(out, planned.id, fill))


@dataclass(frozen=True)
class Rehearsal:
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


def rehearse(planned: Plan, steps: int = 3) -> Rehearsal:
    """Train a planned run for a few steps and keep nothing of it."""
    config = planned.config.training
    few = {"steps": min(steps, config.steps), "checkpoint_steps": (), "log_every": 1}
    short = planned.config.model_copy(update={"training": config.model_copy(update=few)})
    trial = replace(planned, config=short)
    with lent(planned.base.model), TemporaryDirectory() as temporary:
        folder = _Folder(Path(temporary), trial)
        set_seed(planned.config.seed)
        peak = Peak.start(planned.base.device)
        model = adapters.attach(planned.base.model, planned.config.method, planned.method_config)
        encoder = Encoder.of(planned.base, config.max_length)
        items, _ = encoder.items(planned.task.splits["train"])
        _calibrate(planned, model, encoder, items)
        if few["steps"]:
            with suppress(_Diverged):  # what it took till then is what is asked
                _loop(trial, model, Feed.of(encoder, items, config), folder)
        memory = peak.bytes()
        files = folder.save(model, "adapter").iterdir()
        saved = sum(file.stat().st_size for file in files)
        lines = Path(temporary, "timing.jsonl").read_text().splitlines()
        times = [json.loads(line)["seconds"] for line in lines]
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lengths = [length(item.rows[item.correct]) for item in items]
    return Rehearsal(
        trainable_parameters=trained,
        step_seconds=median(times[1:] or times) if times else None,
        tokens=config.batch_size * config.accumulation * float(np.mean(lengths)),
        peak_memory_bytes=memory,
        adapter_bytes=saved,
    )


class _Diverged(Exception):
    """The loss, or its gradient, is not finite; training on would change nothing but the clock."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"diverged after {steps} steps")
        self.steps = steps


def _train(planned: Plan, folder: "_Folder", before: Run | None) -> None:
    training = planned.config.training
    set_seed(planned.config.seed)
    peak = Peak.start(planned.base.device)
    shape = Shape.of(planned.base)
    model = adapters.attach(planned.base.model, planned.config.method, planned.method_config)
    if before is not None:
        adapters.train_on(model, before)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    encoder = Encoder.of(planned.base, training.max_length)
    encoded = {name: encoder.items(part) for name, part in planned.task.splits.items()}
    changed = {name: counts for name, (_, counts) in encoded.items()}
    items, validation = encoded["train"][0], encoded["validation"][0]
    if not items or not validation:
        raise BadInput(f"task {planned.config.task!r}: no text is left to train on; {changed}")
    steps = training.steps
    results: dict[str, Any] = {
        "steps": steps,
        "trainable_parameters": trained,
        "base_parameters": sum(math.prod(shape) for shape in planned.shapes.values()),
        "examples": {name: len(part) for name, part in planned.task.splits.items()},
        "left_out": dict(planned.task.dropped),
        "cut_or_left_out_as_tokens": changed,
    }
    if before is None:
        _calibrate(planned, model, encoder, items)
    feed = Feed.of(encoder, items, training)
    if feed.epochs >= REUSED:
        lower = Lower.of(planned.base, model, shape, encoder, feed.rows)
        feed = replace(feed, lower=lower if lower.names else None)
    folder.checkpoint(model, 0)
    started = time.perf_counter()
    try:
        if steps:
            results["optimizer_bytes"] = _loop(planned, model, feed, folder)
        spent = _spent(started, peak)
        scores = _validate(model.eval(), encoder, validation, steps)
    except _Diverged as diverged:
        spent = _spent(started, peak)
        results["steps"] = diverged.steps
        folder.metrics({"step": diverged.steps, "diverged": True})
    else:
        results |= scores
        folder.metrics({"step": steps, **scores})
    folder.timing(spent)
    folder.finish(model, results, "finished" if "validation_loss" in results else "diverged")


def _spent(started: float, peak: Peak) -> dict[str, Any]:
    """Seconds, and bytes over the loaded base at the highest; missing where nobody knows."""
    return {"seconds": time.perf_counter() - started, "peak_memory_bytes": peak.bytes()}


def _calibrate(planned: Plan, model: nn.Module, encoder: Encoder, items: list[Item]) -> None:
    """Let a method that wants to look at training examples first do so."""
    if hasattr(planned.method, "calibrate"):
        losses = _single_losses(model, encoder, items, planned.config.seed)
        planned.method.calibrate(model, planned.method_config, losses)


def _single_losses(
    model: nn.Module, encoder: Encoder, items: list[Item], seed: int
) -> Iterator[torch.Tensor]:
    """Loss of one training example after another, nats, in an order drawn by the seed."""
    for index in np.random.default_rng(seed).permutation(len(items)):
        row = items[index].rows[items[index].correct]
        yield answer_loss(model, encoder.batch([row]))


def _loop(planned: Plan, model: nn.Module, feed: Feed, folder: "_Folder") -> int:
    """The optimizer's steps; returns the bytes that it holds beside the weights.

    Raises:
        _Diverged: a loss or gradient is not finite; the step that it belongs to is not taken.
    """
    config = planned.config.training
    # accelerate keeps the first device of a process; another run may be on another one
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=planned.base.device == "cpu")
    masters = Masters(model)
    hooks = _Hooks.of(planned, model)
    optimizer, scheduler = _optimizer(hooks, masters.trained, config)
    batches = feed.steps(planned.config.seed)
    model.train()
    with bar(f"Training {planned.config.method}", config.steps) as shown:
        for step in range(1, config.steps + 1):
            started = time.perf_counter()
            rows = next(batches)
            loss = _gradients(model, feed, rows, accelerator)
            if hooks.penalty:
                accelerator.backward(hooks.penalty())
            norm = nn.utils.clip_grad_norm_(masters.trained, config.max_grad_norm).item()
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise _Diverged(step - 1)
            rate = scheduler.get_last_lr()[0]
            optimizer.step()
            scheduler.step()
            masters.write_back()
            if hooks.after_step:
                hooks.after_step(step, config.steps)
            optimizer.zero_grad()
            seconds = time.perf_counter() - started
            tokens = sum(length(row) for part in rows for row in part)
            if step % config.log_every == 0 or step in (1, config.steps):
                line = {"step": step, "loss": loss, "learning_rate": rate, "grad_norm": norm}
                folder.metrics(line | {"tokens": tokens})
                speed = {"seconds": seconds, "tokens_per_second": tokens / seconds}
                folder.timing({"step": step, **speed})
            shown.advance(f"loss {loss:.3f}, {tokens / seconds:.0f} tokens/s")
            if step < config.steps:
                folder.checkpoint(model, step)
    return masters.bytes + sum(
        value.nbytes for held in optimizer.state.values() for value in held.values()
        if isinstance(value, torch.Tensor)
    )  # fmt: skip


@dataclass(frozen=True)
class _Hooks:
    """What a method adds to the loop, where it adds anything; see methods/__init__.py."""

    optimizer: Callable[[float, float], torch.optim.Optimizer] | None
    penalty: Callable[[], torch.Tensor] | None
    after_step: Callable[[int, int], None] | None

    @classmethod
    def of(cls, planned: Plan, model: nn.Module) -> "_Hooks":
        found = (getattr(planned.method, field.name, None) for field in fields(cls))
        return cls(*(hook and partial(hook, model, planned.method_config) for hook in found))


def _optimizer(hooks: _Hooks, trained: list[nn.Parameter], config: TrainingConfig):
    rate, decay = config.learning_rate or 0.0, config.weight_decay
    if hooks.optimizer:
        optimizer = hooks.optimizer(rate, decay)
    else:
        optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    scheduler = get_scheduler(
        "constant_with_warmup" if config.schedule == "constant" else config.schedule,
        optimizer,
        num_warmup_steps=round(config.warmup * config.steps),
        num_training_steps=config.steps,
    )
    return optimizer, scheduler


def _gradients(
    model: nn.Module, feed: Feed, parts: list[list[Row]], accelerator: Accelerator
) -> float:
    """Add up the gradients of the mean loss over all parts' tokens; returns that loss, nats."""
    targets = sum(row.scored for part in parts for row in part)
    total = 0.0
    for part in parts:
        batch = feed.encoder.batch(part)
        with feed.reading(part), _attention(batch):
            loss = answer_loss(model, batch) / targets
        accelerator.backward(loss)
        total += loss.item()
    return total


def _attention(batch: Batch) -> AbstractContextManager[Any]:
    """How attention is computed for a batch, and so in its gradient too.

    On a CPU the gradient of torch's fused attention takes 5 ms for a layer of a batch of short rows
    whatever their length; plain products take a tenth of it, and a step of 12-token rows a fifth
    less in all. Their memory grows with the square of the length, so long rows stay fused.
    """
    ids = batch.inputs["input_ids"]
    short = ids.shape[1] <= SHORT and ids.device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if short else nullcontext()


def _validate(
    model: nn.Module, encoder: Encoder, items: list[Item], steps: int
) -> dict[str, float]:
    choices = choose(model, encoder, items, "Validating")
    scores = {"validation_loss": float(choices.loss.mean())}
    if not math.isfinite(scores["validation_loss"]):
        raise _Diverged(steps)
    if len(items[0].rows) > 1:
        scores["validation_accuracy"] = float((choices.by_sum == choices.correct).mean())
    return scores


class _Folder:
    """The run's folder while it is being filled; see run.py for what lies where."""

    def __init__(self, path: Path, planned: Plan) -> None:
        self._path = path
        self._plan = planned
        for name in ("metrics.jsonl", "timing.jsonl"):
            (path / name).touch()

    def metrics(self, line: dict[str, Any]) -> None:
        """What the seed decides."""
        self._append("metrics.jsonl", line)

    def timing(self, line: dict[str, Any]) -> None:
        """What the machine decides."""
        self._append("timing.jsonl", line)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self._path / name).open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def checkpoint(self, model: nn.Module, step: int) -> None:
        """Save what is trained, if the configuration asks for this step."""
        if step in self._plan.config.training.checkpoint_steps:
            self.save(model, f"checkpoints/{step}")

    def finish(self, model: nn.Module, results: dict[str, Any], status: Any) -> None:
        """Save what was trained, and what came out."""
        self.save(model, "adapter")
        record = Record(
            schema_version=SCHEMA,
            id=self._plan.id,
            configuration=self._plan.configuration,
            config=self._plan.config,
            depends_on=self._plan.depends_on,
            environment=environment() | _accelerator(self._plan.base.device),
            status=status,
            results=results,
        )
        text = json.dumps(record.model_dump(mode="json"), indent=2, allow_nan=False)
        (self._path / "run.json").write_text(text + "\n")
        seal(self._path)

    def save(self, model: nn.Module, name: str) -> Path:
        """Save what is trained in a folder of this name; returns the folder."""
        config = self._plan.config
        adapters.save(
            model,
            config.method,
            self._plan.method_config,
            self._plan.base.origin,
            self._path / name,
        )
        return self._path / name


def _accelerator(device: str) -> dict[str, Any]:
    """What torch computes on."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {"device": name, "threads": torch.get_num_threads()}

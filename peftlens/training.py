"""Train one run: one plain loop.

Adapters are trained and computed in float32 on a base in its own dtype. Weights that live in the
base (full fine-tuning, selected layers) stay in the base's dtype in the model, while the optimizer
works on float32 copies of them: see `_Masters`.
"""

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from transformers import get_scheduler

from peftlens import registry
from peftlens.anatomy import Shapes
from peftlens.dataset import Task
from peftlens.encoding import Encoder, Item, training_batches
from peftlens.errors import BadInput
from peftlens.files import canonical_json, new_folder
from peftlens.models import adapters
from peftlens.models.base import Base, resident
from peftlens.models.lending import lent
from peftlens.progress import bar
from peftlens.run import SCHEMA, Record, Run, RunConfig, environment, run_id, versions
from peftlens.scoring import answer_loss, choose


@dataclass(frozen=True)
class Plan:
    """A run before it is trained: checked, with every default filled in.

    Attributes:
        config: as the run will record it.
        configuration: method and hyperparameters without the seed, in a few words.
        method_config: the method's own Config.
        shapes: of the base's parameters, before anything is attached.
        depends_on: see `run.Record`.
    """

    config: RunConfig
    configuration: str
    base: Base
    task: Task
    method: ModuleType
    method_config: Any
    shapes: Shapes
    depends_on: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Name of the run's folder."""
        return run_id(self.config, self.depends_on)

    @property
    def trainable_parameters(self) -> int:
        """By the method's formula."""
        return self.method.trainable_parameters(self.method_config, self.shapes)


def plan(config: RunConfig, trust_remote_code: bool = False) -> Plan:
    """Check a configuration against its base, data and method before anything is trained.

    Raises:
        BadInput: a name, an option or a value that can't work; the message says which.
    """
    method = registry.load("methods", config.method)
    task = load_task(config.task, config.task_config)
    method_config = adapters.parse_config("methods", config.method, config.method_config)
    base = resident(
        config.base,
        device=config.device,
        dtype=config.dtype,
        trust_remote_code=trust_remote_code,
    )
    if hasattr(method, "resolve"):
        method_config = method.resolve(method_config, base.tokenizer, task.labels)
    shapes = base.shapes
    method.trainable_parameters(method_config, shapes)  # refuses what does not fit the base
    training = config.training
    if training.learning_rate is None:
        training = training.model_copy(update={"learning_rate": method.LEARNING_RATE})
    if late := [step for step in training.checkpoint_steps if step > training.steps]:
        raise BadInput(f"checkpoint_steps: {late[0]} lies after the last step, {training.steps}")
    configuration = _in_words(config, method_config)
    config = config.model_copy(
        update={
            "method_config": json.loads(json.dumps(asdict(method_config))),
            "training": training,
            "device": base.device,
            "dtype": base.dtype,
        }
    )
    depends_on = {"base": base.sha256, "data": task.sha256, "versions": versions()}
    return Plan(config, configuration, base, task, method, method_config, shapes, depends_on)


def _in_words(config: RunConfig, method_config: Any) -> str:
    """Such as `lora rank=8`: the method's main hyperparameter, and whatever else the user set."""
    shown = {field.name: getattr(method_config, field.name) for field in fields(method_config)[:1]}
    shown |= config.method_config
    if config.training.learning_rate is not None:
        shown["learning_rate"] = config.training.learning_rate
    words = (f"{key}={_short(value)}" for key, value in shown.items())
    return " ".join([config.method, *words])


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def load_task(name: str, options: dict[str, Any]) -> Task:
    """A task by the name that users write: a file in tasks/, file:PATH or hub:org/name.

    Kept for as long as the process lives: every run and probe of a study asks for the same one.

    Raises:
        BadInput: no such task, or its data can't be used.
    """
    return _load_task(name, canonical_json(options))


@lru_cache(maxsize=8)
def _load_task(name: str, options: str) -> Task:
    kind, colon, source = name.partition(":")
    values = json.loads(options) | ({"source": source} if colon else {})
    return registry.load("tasks", kind).load(adapters.parse_config("tasks", kind, values))


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
    """Train a planned run unless its folder exists."""
    target = out / planned.run_id
    if not target.exists():
        with lent(planned.base.model), new_folder(target) as folder:
            _train(planned, folder)
    return Run(target)


def _train(planned: Plan, folder: Path) -> None:
    config, training = planned.config, planned.config.training
    set_seed(config.seed)
    model = adapters.attach(planned.base.model, config.method, planned.method_config)
    encoder = Encoder.of(planned.base, training.max_length)
    train_items, train_counts = encoder.items(planned.task.splits["train"])
    validation_items, validation_counts = encoder.items(planned.task.splits["validation"])
    if not train_items or not validation_items:
        raise BadInput(f"task {config.task!r}: no text is left to train on; {train_counts}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    log = _Log(folder)

    def save(step: int) -> None:
        if step in training.checkpoint_steps and step < training.steps:
            _save(planned, model, folder / "checkpoints" / str(step))

    save(0)
    started = time.perf_counter()
    steps = training.steps if parameters else 0
    status = _loop(planned, model, encoder, train_items, log, save) if steps else "finished"
    seconds = time.perf_counter() - started
    _save(planned, model, folder / "adapter")
    results: dict[str, Any] = {
        "steps": steps,
        "trainable_parameters": sum(p.numel() for p in parameters),
        "base_parameters": sum(math.prod(shape) for shape in planned.shapes.values()),
        "dropped": dict(planned.task.dropped),
        "encoding": {"train": train_counts, "validation": validation_counts},
    }
    if status == "finished":
        scores = _validate(model.eval(), encoder, validation_items)
        status = "finished" if math.isfinite(scores["validation_loss"]) else "diverged"
    if status == "finished":
        results |= scores
        log.metrics({"step": steps, **scores})
    else:
        log.metrics({"diverged": True})
    log.timing({"step": steps, "seconds": seconds, "process_peak_memory_bytes": _peak_memory()})
    record = Record(
        schema_version=SCHEMA,
        id=planned.run_id,
        configuration=planned.configuration,
        config=config,
        depends_on=planned.depends_on,
        environment=environment(),
        status=status,
        results=results,
    )
    (folder / "run.json").write_text(record.model_dump_json(indent=2) + "\n")


def _loop(
    planned: Plan,
    model: nn.Module,
    encoder: Encoder,
    items: list[Item],
    log: "_Log",
    save: Callable[[int], None],
) -> str:
    """The optimizer's steps; returns the status."""
    config = planned.config.training
    accelerator = Accelerator(cpu=planned.base.device == "cpu")
    masters = _Masters(model)
    optimizer = torch.optim.AdamW(
        masters.trained, lr=config.learning_rate or 0.0, weight_decay=config.weight_decay
    )
    scheduler = get_scheduler(
        config.schedule if config.schedule != "constant" else "constant_with_warmup",
        optimizer,
        num_warmup_steps=round(config.warmup * config.steps),
        num_training_steps=config.steps,
    )
    rng = np.random.default_rng(planned.config.seed)
    rows = [item.rows[item.correct] for item in items]
    batches = training_batches(rows, config.batch_size, rng)
    model.train()
    with bar(f"Training {planned.config.method}", config.steps) as shown:
        for step in range(1, config.steps + 1):
            started = time.perf_counter()
            parts = [encoder.batch(part) for part in islice(batches, config.accumulation)]
            targets = sum(len(part.targets) for part in parts)
            loss = 0.0
            for part in parts:
                part_loss = answer_loss(model, part) / targets
                accelerator.backward(part_loss)
                loss += part_loss.item()
            norm = float(accelerator.clip_grad_norm_(masters.trained, config.max_grad_norm) or 0.0)
            if not math.isfinite(loss) or not math.isfinite(norm):
                return "diverged"
            rate = scheduler.get_last_lr()[0]
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            masters.write_back()
            seconds = time.perf_counter() - started
            tokens = sum(int(part.inputs["attention_mask"].sum()) for part in parts)
            if step % config.log_every == 0 or step in (1, config.steps):
                line = {"step": step, "loss": loss, "learning_rate": rate}
                log.metrics(line | {"grad_norm": norm, "tokens": tokens})
                log.timing(
                    {"step": step, "seconds": seconds, "tokens_per_second": tokens / seconds}
                )
            shown.advance(f"loss {loss:.3f}, {tokens / seconds:.0f} tokens/s")
            save(step)
    return "finished"


def _validate(model: nn.Module, encoder: Encoder, items: list[Item]) -> dict[str, float]:
    choices = choose(model, encoder, items, "Validating")
    scores = {"validation_loss": float(choices.loss.mean())}
    if len(items[0].rows) > 1:
        scores["validation_accuracy"] = float((choices.by_sum == choices.correct).mean())
    return scores


def _save(planned: Plan, model: nn.Module, folder: Path) -> None:
    adapters.save(model, planned.config.method, planned.method_config, planned.config.base, folder)


class _Masters:
    """float32 copies, for the optimizer, of trained weights of lower precision.

    AdamW's steps are often smaller than the spacing of bfloat16 and would round away (Micikevicius
    et al. 2018, arXiv:1710.03740, section 3.1). Weights in float32 are their own copies.
    """

    def __init__(self, model: nn.Module) -> None:
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        self.trained: list[nn.Parameter] = []
        for parameter in model.parameters():
            if not parameter.requires_grad:
                continue
            if parameter.dtype == torch.float32:
                self.trained.append(parameter)
                continue
            master = nn.Parameter(parameter.detach().float())
            self.trained.append(master)
            self._pairs.append((parameter, master))
            parameter.register_post_accumulate_grad_hook(_hand_over(master))

    def write_back(self) -> None:
        """Round the copies into the model."""
        with torch.no_grad():
            for parameter, master in self._pairs:
                parameter.copy_(master)


def _hand_over(master: nn.Parameter) -> Callable[[torch.Tensor], None]:
    """Sum gradients in float32, and free the low-precision one at once."""

    def move(parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None  # the hook runs only where one was accumulated  # noqa: S101
        master.grad = gradient.float() if master.grad is None else master.grad + gradient
        parameter.grad = None

    return move


class _Log:
    """The two logs of a run: what the seed decides, and what the machine decides."""

    def __init__(self, folder: Path) -> None:
        self._metrics = folder / "metrics.jsonl"
        self._timing = folder / "timing.jsonl"
        self._metrics.touch()
        self._timing.touch()

    def metrics(self, line: dict[str, Any]) -> None:
        _append(self._metrics, line)

    def timing(self, line: dict[str, Any]) -> None:
        _append(self._timing, line)


def _append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a") as handle:
        handle.write(json.dumps(line, allow_nan=False) + "\n")


def _peak_memory() -> int:
    """Highest memory of this process so far, bytes: on the GPU if there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

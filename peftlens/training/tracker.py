"""Track another program's training loop as a run folder, without interfering with it.

`track(model, out)` is for custom training loops, `PeftLensCallback(out)` for transformers'
Trainer and its subclasses. Both draw no random number and change nothing in the model. An error
here is logged once and training continues: outside of a study's worker this is the only broad
`except`.
"""

import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftType
from torch import nn

from peftlens import registry
from peftlens.adapters.adapter_file import WEIGHTS, AdapterFile, read
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError, require
from peftlens.evaluation import probe_runner
from peftlens.io.files import TEMPORARY_PREFIX, sha256_file
from peftlens.models.base_model import BUILT_IN, folder_sha256, locate
from peftlens.models.origin import Origin, vocabulary_sha256
from peftlens.runs.config import UNKNOWN_TASK, RunConfig, TrainingConfig
from peftlens.runs.lock import lock_run
from peftlens.runs.run import Run, versions
from peftlens.runs.store import build
from peftlens.training.run_writer import RunWriter

PROBES = ("cost", "training_log", "parameter_count")  # probes that need no model
_LOG = logging.getLogger("peftlens")
_MACHINE_DEPENDENT = ("runtime", "per_second", "flos")  # ends of names that transformers logs
_METRIC_NAMES = {"eval_loss": "validation_loss", "eval_accuracy": "validation_accuracy"}


def _never_raises(method: Callable[..., Any]) -> Callable[..., Any]:
    """Log an error in a tracker's method, and stop tracking."""

    @wraps(method)
    def guarded(self: "Tracker", *args: Any, **kwargs: Any) -> Any:
        if self.stopped:
            return self.run
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  # a training of days matters more than its record
            self.close()
            _LOG.warning("peftlens stopped tracking; training continues: %s", error)
            _LOG.debug("traceback of the error", exc_info=True)
            return self.run

    return guarded


@dataclass(eq=False)
class Tracker:
    """Tracker of one training loop; see `track`.

    Attributes:
        model: model in training.
        out: folder of runs.
        every: steps between two checkpoints.
        probes: probes to run after training.
        tokenizer: tokenizer of the model, whose vocabulary the adapter belongs to.
        training: values of TrainingConfig.
        seed: seed of the training.
        stopped: whether tracking has ended, by an error or with the training.
        run: the finished run; None before the end and after an error.
    """

    model: Any
    out: Path
    every: int = 50
    probes: Sequence[str] = PROBES
    tokenizer: Any = None
    training: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    stopped: bool = False
    run: Run | None = None
    _resources: ExitStack = field(default_factory=ExitStack, repr=False)

    @_never_raises
    def begin(self) -> None:
        """Check the model, and save its trained weights before the first step."""
        require("every", self.every, 1)
        self.model = getattr(self.model, "_orig_mod", self.model)  # inside torch.compile's
        method = _method_of(self.model)
        base = str(getattr(self.model.config, "name_or_path", "") or "unnamed")
        vocabulary = self.tokenizer and vocabulary_sha256(self.tokenizer.get_vocab())
        self._writer = RunWriter(
            path=self._temporary_folder(),
            method=method,
            method_config=registry.configure("methods", method, {}),
            origin=Origin(base, vocabulary or None),
        )
        self._last_step, self._unlogged = 0, {}
        self._writer.save_checkpoint(self.model, 0)
        self._started = self._last_checkpoint = time.perf_counter()

    def _temporary_folder(self) -> Path:
        """Create a folder that is deleted at the end, and that `store.sweep` skips until then."""
        name = f"track-{os.getpid()}-{id(self)}"
        self._resources.enter_context(lock_run(self.out, name))
        temporary = tempfile.TemporaryDirectory(
            prefix=f"{TEMPORARY_PREFIX}{name}-", dir=self.out, ignore_cleanup_errors=True
        )
        return Path(self._resources.enter_context(temporary))

    @_never_raises
    def step(self, step: int | None = None, **metrics: Any) -> None:
        """Record that an optimizer step is done.

        Args:
            step: number of steps done; by default one more than before.
            metrics: numbers or one-element tensors, such as loss=loss; logged every `every` steps.
        """
        self._last_step = self._last_step + 1 if step is None else step
        if metrics:  # without the graph that a loss keeps alive
            self._unlogged = {
                name: value.detach() if isinstance(value, torch.Tensor) else value
                for name, value in metrics.items()
            }
        if self._last_step % self.every == 0:
            if self._unlogged:
                self.log(self._last_step, **self._unlogged)
                self._unlogged = {}
            if not self.stopped:  # an error in `log` is logged already
                self._save_checkpoint()

    @_never_raises
    def log(self, step: int, **metrics: Any) -> None:
        """Write metrics of a step now."""
        self._last_step = max(self._last_step, step)
        numbers = {
            _METRIC_NAMES.get(name, name): _number(value)
            for name, value in metrics.items()
            if not name.endswith(_MACHINE_DEPENDENT)
        }
        finite = {name: value for name, value in numbers.items() if value is not None}
        self._writer.log_metrics({"step": step} | finite)

    @_never_raises
    def finish(self) -> Run | None:
        """Complete the run's folder, run the probes, and return the run; None after an error."""
        self._writer.log_timing({"seconds": time.perf_counter() - self._started})
        adapter = read(self._writer.save_adapter(self.model))
        last_checkpoint = self._writer.path / f"checkpoints/{self._last_step}"
        shutil.rmtree(last_checkpoint, ignore_errors=True)  # a copy of the adapter
        run = self._write_record(adapter)
        self.run = Run(build(self.out, run, self._move_into))
        self.close()
        context = RunContext()
        for probe in self.probes:
            _measure(context, self.run, probe)
        return self.run

    def close(self) -> None:
        """Stop tracking, and delete an unfinished folder."""
        self.stopped = True
        self._resources.close()

    def _write_record(self, adapter: AdapterFile) -> str:
        """Write the record of the finished training and return the run's id."""
        method, base = self._writer.method, self._writer.origin.base
        weights = {"weights": sha256_file(adapter.folder / WEIGHTS), "versions": versions()}
        return self._writer.write_record(
            config=RunConfig(
                method=method,
                task=UNKNOWN_TASK,
                base_model=base,
                method_config=adapter.options,
                training=self._training_config(),
                seed=self.seed,
                **_device_and_dtype(self.model),
            ),
            configuration=" ".join([method, *(f"{k}={v}" for k, v in adapter.options.items())]),
            depends_on=weights | _base_hash(base),
            results={
                "steps": self._last_step,
                "trainable_parameters": _trainable_parameters(self.model),
                "base_parameters": _base_parameters(self.model),
            },
            diverged=bool(adapter.non_finite_tensors),
        )

    def _move_into(self, folder: Path) -> None:
        for path in list(self._writer.path.iterdir()):
            path.rename(folder / path.name)

    def _training_config(self) -> TrainingConfig:
        checkpoints = self._writer.path.glob("checkpoints/*")
        steps = tuple(sorted(int(one.name) for one in checkpoints if one.name.isdecimal()))
        values = dict(self.training) | {"max_steps": self._last_step, "checkpoint_steps": steps}
        return TrainingConfig.model_validate(values)

    def _save_checkpoint(self) -> None:
        seconds = (time.perf_counter() - self._last_checkpoint) / self.every
        self._writer.log_timing({"step": self._last_step, "seconds": seconds})
        self._writer.save_checkpoint(self.model, self._last_step)
        self._last_checkpoint = time.perf_counter()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()
        self.close()


def _measure(context: RunContext, run: Run, probe: str) -> None:
    """Run a probe; an error is logged, and the other probes still run."""
    try:
        probe_runner.run_probe(context, run, probe)
    except Exception as error:  # noqa: BLE001  # the run is complete, and the program continues
        _LOG.warning("peftlens could not measure %s: %s", probe, error)
        _LOG.debug("traceback of the error", exc_info=True)


def track(  # noqa: PLR0913  # one argument per property of the loop
    model: nn.Module,
    out: str | Path,
    *,
    every: int = 50,
    probes: Sequence[str] = PROBES,
    tokenizer: Any = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Tracker:
    """Track a custom training loop as a run that probes, report and explorer read.

    Example:
        ```python
        with pl.track(model, "runs", tokenizer=tokenizer) as tracker:
            for batch in batches:
                ...  # forward, backward, optimizer step
                tracker.step(loss=loss)
        pl.probe(tracker.run, "delta_spectrum")
        ```

    Args:
        model: peft model, or any transformers model whose parameters are all trained.
        out: folder of runs; the run's own folder is made below it at the end of training.
        every: steps between two checkpoints.
        probes: probes to run at the end; those that need the base load it a second time.
        tokenizer: tokenizer of the model, to check the vocabulary of later prompts.
        training: values of `TrainingConfig` to record, such as learning_rate.
        seed: random seed of the loop, to record it.

    Returns:
        A tracker: call `step(loss=loss)` after each step, and `finish()` at the end, or leave a
        `with` block.
    """
    tracker = Tracker(model, Path(out), every, probes, tokenizer, training or {}, seed)
    tracker.begin()
    return tracker


def _method_of(model: Any) -> str:
    """Return the name of the method that trains the model.

    Raises:
        InputError: not all parameters are trained, without peft, so that nothing could load them.
    """
    if isinstance(model, peft.PeftModel):
        if [*model.peft_config] != ["default"]:
            raise InputError(
                f"the model has adapters named {[*model.peft_config]}; "
                "only one named 'default' can be tracked"
            )
        return f"peft:{PeftType(model.peft_config['default'].peft_type).value}"
    if all(parameter.requires_grad for parameter in model.parameters()):
        return "full"
    raise InputError("the model is not a peft.PeftModel, and some of its weights are frozen")


def _device_and_dtype(model: Any) -> dict[str, Any]:
    """Return device and dtype of the model, `auto` for values that RunConfig lacks."""
    first = next(model.parameters())
    dtype = str(getattr(model, "dtype", first.dtype)).removeprefix("torch.")
    device = first.device.type
    return {
        "device": device if device in ("cpu", "cuda", "mps") else "auto",
        "dtype": dtype if dtype in ("float32", "bfloat16") else "auto",
    }


def _trainable_parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _base_parameters(model: Any) -> int:
    total = sum(p.numel() for p in model.parameters())
    return total - _trainable_parameters(model) if isinstance(model, peft.PeftModel) else total


def _base_hash(base: str) -> dict[str, str]:
    """Hash the base model if its files are local; return nothing for a name on the hub."""
    if base in BUILT_IN or Path(base).is_dir():
        return {"base": folder_sha256(locate(base))}
    return {}


def _number(value: Any) -> float | int | None:
    """Convert a value to a finite number; None for any other value."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None

"""Track another program's training loop as a run folder, without interfering with it.

`track(model, out)` is for custom training loops, `PeftLensCallback(out)` for transformers'
Trainer and its subclasses. Both draw no random number and change nothing in the model. An error
here is logged once and training continues: outside of a study's worker this is the only broad
`except`.
"""

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import nn

from peftlens import registry
from peftlens.adapters.adapter_file import WEIGHTS, AdapterFile, read
from peftlens.adapters.run_context import RunContext
from peftlens.errors import require
from peftlens.evaluation import probe_runner
from peftlens.io.files import TEMPORARY_PREFIX, sha256_file
from peftlens.models.origin import Origin
from peftlens.runs.config import UNKNOWN_TASK, RunConfig, TrainingConfig
from peftlens.runs.lock import lock_run
from peftlens.runs.run import Run, versions
from peftlens.runs.store import build
from peftlens.training import tracked_model
from peftlens.training.run_writer import RunWriter
from peftlens.training.tracked_task import TrackedTask, tracked_task

if TYPE_CHECKING:
    from peftlens.io.rows import Rows

PROBES = ("cost", "training_log", "parameter_count")  # probes that need no model
_LOG = logging.getLogger("peftlens")
# ends of names that transformers and TRL log
_MACHINE_DEPENDENT = ("runtime", "per_second", "flos", "step_time")
_METRIC_NAMES = {"eval_loss": "validation_loss", "eval_accuracy": "validation_accuracy"}
_LARGEST_SEED = 2**32 - 1


@contextmanager
def errors_logged(doing: str) -> Iterator[None]:
    """Log an error of the block as a warning; it does not leave the block."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a training of days matters more than its record
        _LOG.warning("peftlens %s: %s", doing, " ".join(str(error).split()))
        _LOG.debug("traceback of the error", exc_info=True)


def _never_raises(method: Callable[..., Any]) -> Callable[..., Any]:
    """Log an error in a tracker's method, and stop tracking."""

    @wraps(method)
    def guarded(self: "Tracker", /, *args: Any, **kwargs: Any) -> Any:
        if self.stopped:
            return self.run
        with errors_logged("stopped tracking; training continues"):
            try:
                return method(self, *args, **kwargs)
            except BaseException:
                self.close()
                raise
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
        first_step: number of steps done before; above 0 for a training that is resumed.
        task: name of a task, or rows, on which probes score the model; None for an unknown one.
        task_config: values of the task's Config.
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
    first_step: int = 0
    task: "str | Rows | None" = None
    task_config: Mapping[str, Any] | None = None
    stopped: bool = False
    run: Run | None = None
    _resources: ExitStack = field(default_factory=ExitStack, repr=False)

    @_never_raises
    def begin(self) -> None:
        """Check the model, and save its trained weights before the first step."""
        require("every", self.every, 1)
        self.model = tracked_model.unwrapped(self.model)
        part = tracked_model.trained_part(self.model)
        self._task: TrackedTask | None = None
        if self.task is not None:
            self._task = tracked_task(self.task, self.task_config)
        vocabulary = None
        with errors_logged("could not read the tokenizer's vocabulary"):
            vocabulary = tracked_model.vocabulary_of(self.model, self.tokenizer)
        self._writer = RunWriter(
            path=self._temporary_folder(),
            method=part.method,
            method_config=registry.configure("methods", part.method, {}),
            origin=Origin(tracked_model.base_name(self.model), vocabulary),
            adapter=part.adapter,
            with_tables=bool(part.adapter) and tracked_model.has_resized_tables(self.model),
        )
        self._last_step = self._last_saved = self.first_step
        self._kept: int | None = None  # step of a checkpoint that is not due
        self._unlogged: dict[str, Any] = {}
        self._writer.save_checkpoint(self.model, self.first_step)
        read(self._checkpoint(self.first_step))  # refuses now what could not be read at the end
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
    def step(self, /, step: int | None = None, **metrics: Any) -> None:
        """Record that an optimizer step is done.

        Args:
            step: number of steps done; by default one more than before.
            metrics: numbers or one-element tensors, such as loss=loss; logged every `every` steps.
        """
        self._last_step = self._last_step + 1 if step is None else int(step)
        self._drop_kept()
        if metrics:  # without the graph that a loss keeps alive
            self._unlogged = {
                name: value.detach() if isinstance(value, torch.Tensor) else value
                for name, value in metrics.items()
            }
        if self._last_step % self.every == 0:
            if self._unlogged:
                self._log(self._last_step, self._unlogged)
                self._unlogged = {}
            self._save_checkpoint()

    @_never_raises
    def log(self, step: int, /, **metrics: Any) -> None:
        """Write metrics of a step now."""
        self._log(step, metrics)

    @_never_raises
    def log_metrics(self, step: int, metrics: Mapping[Any, Any]) -> None:
        """Write metrics of a step now, whatever their names are."""
        self._log(step, metrics)

    def _log(self, step: int, metrics: Mapping[Any, Any]) -> None:
        self._last_step = max(self._last_step, int(step))
        numbers = {
            _METRIC_NAMES.get(str(name), str(name)): _number(value)
            for name, value in metrics.items()
            if not str(name).endswith(_MACHINE_DEPENDENT)
        }
        finite = {name: value for name, value in numbers.items() if value is not None}
        self._writer.log_metrics({"step": int(step)} | finite | {"step": int(step)})

    @_never_raises
    def keep(self) -> None:
        """Save the weights of this step until the next, in case the model is changed after it."""
        if not self._checkpoint(self._last_step).exists():
            self._writer.save_checkpoint(self.model, self._last_step)
            self._kept = self._last_step

    @_never_raises
    def finish(self, restored_step: int | None = None) -> Run | None:
        """Complete the run's folder, run the probes, and return the run; None after an error.

        Args:
            restored_step: earlier step whose weights the model has again, such as the best one;
                None if the model has the weights of the last step.
        """
        self._writer.log_timing({"seconds": time.perf_counter() - self._started})
        self._writer.save_adapter(self.model)
        restored = self._file_restored(restored_step)
        adapter = read(self._writer.path / "adapter")
        # a copy of the adapter
        shutil.rmtree(self._checkpoint(self._last_step), ignore_errors=True)
        run = self._write_record(adapter, {"best_step": restored_step} if restored else {})
        self.run = Run(build(self.out, run, self._move_into))
        self.close()
        context = RunContext()
        for probe in self.probes:
            with errors_logged(f"could not measure {probe}"):  # the run is complete
                probe_runner.run_probe(context, self.run, probe)
        return self.run

    def _file_restored(self, step: int | None) -> bool:
        """File restored weights as those of their step, and the last step's as the adapter.

        Without weights of the last step, the run ends at the restored step.

        Returns:
            Whether the model has other weights than those of the last step.
        """
        adapter, last = self._writer.path / "adapter", self._checkpoint(self._last_step)
        if step is None or step == self._last_step:
            return False
        if last.exists():
            if sha256_file(last / WEIGHTS) == sha256_file(adapter / WEIGHTS):
                return False
            if not self._checkpoint(step).exists():
                shutil.copytree(adapter, self._checkpoint(step))
            shutil.rmtree(adapter)
            last.rename(adapter)
        else:
            for later in (one for one in self._steps() if one >= step):
                shutil.rmtree(self._checkpoint(later))
            self._last_step = step
        _LOG.warning("peftlens: the model ends with the weights of step %d; the run has them as "
                     "that step, and ends at step %d", step, self._last_step)  # fmt: skip
        return True

    def close(self) -> None:
        """Stop tracking, and delete an unfinished folder."""
        self.stopped = True
        self._resources.close()

    def _write_record(self, adapter: AdapterFile, extra: Mapping[str, Any]) -> str:
        """Write the record of the finished training and return the run's id."""
        method, base = self._writer.method, self._writer.origin.base
        weights = {"weights": sha256_file(adapter.folder / WEIGHTS), "versions": versions()}
        resumed = {"first_step": self.first_step} if self.first_step else {}
        task = self._task
        data = {"data": task.task.sha256} if task else {}
        return self._writer.write_record(
            config=RunConfig(
                method=method,
                task=task.name if task else UNKNOWN_TASK,
                task_config=task.config if task else {},
                base_model=base,
                method_config=adapter.options,
                training=self._training_config(),
                seed=self._valid_seed(),
                **tracked_model.device_and_dtype(self.model),
            ),
            configuration=" ".join([method, *(f"{k}={v}" for k, v in adapter.options.items())]),
            depends_on=weights
            | data
            | tracked_model.base_hash(base)
            | tracked_model.recorded_head(self.model),
            results={
                "steps": self._last_step,
                **resumed,
                **extra,
                **(task.results if task else {}),
                **tracked_model.parameter_counts(self.model, self._writer.adapter),
            },
            diverged=bool(adapter.non_finite_tensors),
        )

    def _move_into(self, folder: Path) -> None:
        for path in list(self._writer.path.iterdir()):
            path.rename(folder / path.name)

    def _training_config(self) -> TrainingConfig:
        """Return the recorded values; one that TrainingConfig refuses is left out and logged."""
        known = {"max_steps": self._last_step, "checkpoint_steps": self._steps()}
        values = {name: value for name, value in self.training.items() if name not in known}
        while True:
            try:
                return TrainingConfig.model_validate(values | known)
            except ValidationError as error:
                refused = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
                refused &= values.keys()
                if not refused:
                    raise
                left_out = {name: values.pop(name) for name in sorted(refused)}
                _LOG.warning("peftlens does not record these values of the training: %s", left_out)

    def _valid_seed(self) -> int:
        seed = self.seed
        if isinstance(seed, int) and 0 <= seed <= _LARGEST_SEED:
            return seed
        _LOG.warning("peftlens records the seed %r as 0", seed)
        return 0

    def _checkpoint(self, step: int) -> Path:
        return self._writer.path / f"checkpoints/{step}"

    def _steps(self) -> tuple[int, ...]:
        folders = self._writer.path.glob("checkpoints/*")
        return tuple(sorted(int(one.name) for one in folders if one.name.isdecimal()))

    def _drop_kept(self) -> None:
        if self._kept is not None and self._kept != self._last_step:
            shutil.rmtree(self._checkpoint(self._kept))
            self._kept = None

    def _save_checkpoint(self) -> None:
        shutil.rmtree(self._checkpoint(self._last_step), ignore_errors=True)  # of a repeated step
        if (steps := self._last_step - self._last_saved) > 0:
            seconds = (time.perf_counter() - self._last_checkpoint) / steps
            self._writer.log_timing({"step": self._last_step, "seconds": seconds})
        self._writer.save_checkpoint(self.model, self._last_step)
        self._last_saved, self._last_checkpoint = self._last_step, time.perf_counter()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()
        self.close()


def track(  # noqa: PLR0913  # one argument per property of the loop
    model: nn.Module,
    out: str | Path,
    *,
    every: int = 50,
    probes: Sequence[str] = PROBES,
    tokenizer: Any = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    first_step: int = 0,
    task: "str | Rows | None" = None,
    task_config: Mapping[str, Any] | None = None,
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
        first_step: number of steps done before, for a loop that resumes from a checkpoint.
        task: rows on which probes score the model, which the training should not contain: a data
            frame, a dataset or a list of dicts, or the name of a task.
        task_config: values of the task's Config; preferences and conversations need none.

    Returns:
        A tracker: call `step(loss=loss)` after each step, and `finish()` at the end, or leave a
        `with` block.
    """
    tracker = Tracker(
        model, Path(out), every, probes, tokenizer, training or {}, seed, first_step,
        task, task_config,
    )  # fmt: skip
    tracker.begin()
    return tracker


def _number(value: Any) -> float | int | None:
    """Convert a number, or a tensor or array of one, to a finite number; None for anything else."""
    count = value.numel() if isinstance(value, torch.Tensor) else getattr(value, "size", None)
    if count == 1 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return value if abs(value) <= sys.float_info.max else None  # NaN is not

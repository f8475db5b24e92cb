"""Keep a training that another program does as a run folder, without getting in its way.

`watch(model, out)` is for loops of one's own, `PeftLensCallback(out)` for transformers' Trainer and
what builds on it. Both draw no random number and change nothing in the model. Whatever goes wrong
here is told once, and the training goes on: the only broad `except` outside of a study's worker.
"""

import json
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
from peftlens.adapters import checkpoint
from peftlens.adapters.adapter_file import WEIGHTS, read
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError, require
from peftlens.evaluation import probe_runner
from peftlens.io.files import TEMPORARY_PREFIX, sha256_file
from peftlens.models.base_model import BUILT_IN, folder_sha256, locate
from peftlens.models.origin import Origin, vocabulary_sha256
from peftlens.runs.config import UNKNOWN_TASK, RunConfig, TrainingConfig
from peftlens.runs.run import SCHEMA, Record, Run, environment, run_id, versions
from peftlens.runs.store import build, lock_run, seal

PROBES = ("cost", "training_log", "parameter_count")  # of those that need no model
_LOG = logging.getLogger("peftlens")
_MACHINES = ("runtime", "per_second", "flos")  # what the seed does not decide
_NAMES = {"eval_loss": "validation_loss", "eval_accuracy": "validation_accuracy"}


def _harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    """What fails is told, and is the last thing that this watch did."""

    @wraps(method)
    def guarded(self: "Tracker", *arguments: Any, **named: Any) -> Any:
        if self.stopped:
            return self.run
        try:
            return method(self, *arguments, **named)
        except Exception as error:  # noqa: BLE001  # a training of days is worth more than its record
            self.close()
            _LOG.warning("peftlens stopped watching, the training goes on: %s", error)
            _LOG.debug("where it failed", exc_info=True)
            return self.run

    return guarded


@dataclass(eq=False)
class Tracker:
    """A training under way; see `watch`.

    Attributes:
        model: that is trained.
        out: folder of runs.
        every: steps between two checkpoints.
        probes: measured when the training has ended.
        tokenizer: whose vocabulary the adapter is of, if it is at hand.
        training: what is known of the training's configuration.
        seed: of the training.
        stopped: something has failed, or it has ended.
        run: what was kept, when it has ended.
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
    _held: ExitStack = field(default_factory=ExitStack, repr=False)

    @_harmless
    def begin(self) -> None:
        """Look at the model, and keep what is trained as it is before the first step."""
        require("every", self.every, 1)
        self.model = getattr(self.model, "_orig_mod", self.model)  # of torch.compile
        self._method = _method_of(self.model)
        self._base = str(getattr(self.model.config, "name_or_path", "") or "unnamed")
        known = self.tokenizer and vocabulary_sha256(self.tokenizer.get_vocab())
        self._origin = Origin(self._base, known or None)
        name = f"watch-{os.getpid()}-{id(self)}"
        self._held.enter_context(lock_run(self.out, name))  # so that nobody sweeps the folder away
        temporary = tempfile.TemporaryDirectory(
            prefix=f"{TEMPORARY_PREFIX}{name}-", dir=self.out, ignore_cleanup_errors=True
        )
        self._folder = Path(self._held.enter_context(temporary))
        self._last, self._numbers = 0, {}
        self._began = self._before = time.perf_counter()
        for name in ("metrics.jsonl", "timing.jsonl"):
            (self._folder / name).touch()
        self._checkpoint(0)

    @_harmless
    def step(self, step: int | None = None, **numbers: Any) -> None:
        """One optimizer step is done.

        Args:
            step: how many are done; one more than before by default.
            numbers: such as loss=loss, plain or one-element tensors, logged when `every` says so.
        """
        self._last = self._last + 1 if step is None else step
        if numbers:  # without the graph that a loss holds on to
            self._numbers = {
                name: value.detach() if isinstance(value, torch.Tensor) else value
                for name, value in numbers.items()
            }
        if self._last % self.every == 0:
            if self._numbers:
                self.log(self._last, **self._numbers)
                self._numbers = {}
            if not self.stopped:  # that the numbers could not be kept has been told
                self._checkpoint(self._last)

    @_harmless
    def log(self, step: int, **numbers: Any) -> None:
        """Keep numbers of a step, now."""
        self._last = max(self._last, step)
        plain = {
            _NAMES.get(name, name): _number(value)
            for name, value in numbers.items()
            if not name.endswith(_MACHINES)
        }
        known = {name: value for name, value in plain.items() if value is not None}
        self._append("metrics.jsonl", {"step": step} | known)

    @_harmless
    def finish(self) -> Run | None:
        """Write the run's folder and measure it; gives the run, or None where it could not be."""
        seconds = time.perf_counter() - self._began
        self._append("timing.jsonl", {"seconds": seconds})
        self._save("adapter")
        shutil.rmtree(self._folder / f"checkpoints/{self._last}", ignore_errors=True)  # the same
        file = read(self._folder / "adapter")
        config = RunConfig(
            method=self._method,
            task=UNKNOWN_TASK,
            base_model=self._base,
            method_config=file.options,
            training=self._training(),
            seed=self.seed,
            **_where(self.model),
        )
        depends_on = {"weights": sha256_file(file.folder / WEIGHTS), "versions": versions()}
        depends_on |= _hash_of(self._base)
        name = run_id(config, depends_on)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        record = Record(
            schema_version=SCHEMA,
            id=name,
            configuration=" ".join([self._method, *(f"{k}={v}" for k, v in file.options.items())]),
            config=config,
            depends_on=depends_on,
            environment=environment() | {"device": config.device,
                                         "threads": torch.get_num_threads()},
            status="diverged" if file.non_finite_tensors else "finished",
            results={
                "steps": self._last,
                "trainable_parameters": sum(p.numel() for p in trained),
                "base_parameters": _base_parameters(self.model),
            },
        )  # fmt: skip
        record.write(self._folder)
        seal(self._folder)
        self.run = Run(build(self.out, name, self._into))
        self.close()
        context = RunContext()
        for probe in self.probes:
            _measure(context, self.run, probe)
        return self.run

    def close(self) -> None:
        """Stop watching, and leave nothing unfinished behind."""
        self.stopped = True
        self._held.close()

    def _into(self, folder: Path) -> None:
        for path in list(self._folder.iterdir()):
            path.rename(folder / path.name)

    def _training(self) -> TrainingConfig:
        kept = tuple(sorted(int(path.name) for path in self._folder.glob("checkpoints/*")))
        given = dict(self.training) | {"max_steps": self._last, "checkpoint_steps": kept}
        return TrainingConfig.model_validate(given)

    def _checkpoint(self, step: int) -> None:
        now = time.perf_counter()
        if step:
            self._append(
                "timing.jsonl", {"step": step, "seconds": (now - self._before) / self.every}
            )
        self._save(f"checkpoints/{step}")
        self._before = time.perf_counter()

    def _save(self, name: str) -> None:
        config = registry.configure("methods", self._method, {})
        checkpoint.save(self.model, self._method, config, self._origin, self._folder / name)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self._folder / name).open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.finish()
        self.close()


def _measure(context: RunContext, run: Run, probe: str) -> None:
    """A probe that fails is told, and costs no other."""
    try:
        probe_runner.run_probe(context, run, probe)
    except Exception as error:  # noqa: BLE001  # the run is there, and the program goes on
        _LOG.warning("peftlens could not measure %s: %s", probe, error)
        _LOG.debug("where it failed", exc_info=True)


def track(  # noqa: PLR0913  # what a loop of one's own knows
    model: nn.Module,
    out: str | Path,
    *,
    every: int = 50,
    probes: Sequence[str] = PROBES,
    tokenizer: Any = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Tracker:
    """Keep a training loop of one's own as a run that probes, report and explorer read.

    Args:
        model: a peft model, or any model of transformers that is trained whole.
        out: folder of runs; the run's own is made below it when the training has ended.
        every: steps between two checkpoints of what is trained.
        probes: measured at the end; those that need the base load it a second time.
        tokenizer: whose vocabulary prompts are checked against later.
        training: values of `TrainingConfig` that the run should tell, such as learning_rate.
        seed: that the loop has set, to be told.

    Returns:
        To be told of each step by `step(loss=loss)`, and of the end by `finish()`, or by leaving a
        `with` block.
    """
    began = Tracker(model, Path(out), every, probes, tokenizer, training or {}, seed)
    began.begin()
    return began


def _method_of(model: Any) -> str:
    """The method's name here.

    Raises:
        InputError: it is neither a peft model nor trained whole, so that nothing could load it again.
    """
    if isinstance(model, peft.PeftModel):
        if [*model.peft_config] != ["default"]:
            raise InputError(
                f"it has adapters named {[*model.peft_config]}; one is kept: 'default'"
            )
        return f"peft:{PeftType(model.peft_config['default'].peft_type).value}"
    if all(parameter.requires_grad for parameter in model.parameters()):
        return "full"
    raise InputError("the model is no peft.PeftModel, and some of its weights are frozen")


def _where(model: Any) -> dict[str, Any]:
    """Device and dtype, as far as RunConfig has words for them."""
    first = next(model.parameters())
    dtype = str(getattr(model, "dtype", first.dtype)).removeprefix("torch.")
    device = first.device.type
    return {
        "device": device if device in ("cpu", "cuda", "mps") else "auto",
        "dtype": dtype if dtype in ("float32", "bfloat16") else "auto",
    }


def _base_parameters(model: Any) -> int:
    if not isinstance(model, peft.PeftModel):
        return sum(parameter.numel() for parameter in model.parameters())
    added = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return sum(p.numel() for p in model.parameters()) - added


def _hash_of(base: str) -> dict[str, str]:
    """The base's hash where its files are at hand; a hub's name is not looked up."""
    if base in BUILT_IN or Path(base).is_dir():
        return {"base": folder_sha256(locate(base))}
    return {}


def _number(value: Any) -> float | int | None:
    """A plain finite number; None for anything else."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None

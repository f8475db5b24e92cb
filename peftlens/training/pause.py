"""Pause of a run in training: write all that its further steps depend on, and resume from it.

That is what training changes: trained weights (float32 copies, where the optimizer steps on such),
buffers of the model, the states of optimizer, schedule, method and random generators, and what the
run has logged and saved. All else is made again from the run's plan, as at its start: the base with
the method on it, the data in their order, hidden states of frozen blocks, predictions and Fisher
information of the base.
"""

import random
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from peftlens.errors import InputError
from peftlens.runs.paused import Pause, PausedRun
from peftlens.training.run_plan import RunPlan
from peftlens.training.state_file import read_state, write_state
from peftlens.training.train_state import TrainState

_WRITTEN = ("metrics.jsonl", "timing.jsonl")


def keeps_state(method: ModuleType) -> bool:
    """Whether a method says what it keeps from step to step, or keeps nothing."""
    return not hasattr(method, "after_step") or hasattr(method, "training_state")


def require_pausable(planned: RunPlan, step: int) -> None:
    """Check that a run can be paused after a step.

    Raises:
        InputError: the step is not before the last one, or the method does not say what it keeps
            from step to step.
    """
    last = planned.config.training.max_steps
    if not 0 < step < last:
        raise InputError(f"a run of {last} steps can't be paused after step {step}; train it whole")
    if not keeps_state(planned.method):
        raise InputError(
            f"{planned.config.method} acts after each step and has no function training_state, "
            "which says what it keeps between them, so its runs can't be paused; train them whole"
        )


def save_state(state: TrainState, model: nn.Module, folder: Path) -> None:
    """Write the state of a run in training into its folder.

    Raises:
        InputError: the optimizer or the method keeps something that is no tensor, number or text.
        OSError: the disk is full or not writable.
    """
    method = state.hooks.training_state
    parts = {
        "optimizer": state.optimizer.state_dict(),
        "buffers": dict(model.named_buffers()),
        "method": method() if method else {},
        "random": _random_states(),
    }
    write_state(parts, folder)


def resume(state: TrainState, model: nn.Module, paused: PausedRun) -> Pause:
    """Bring a run at its start to where it was paused, and return the contents of its pause.

    Args:
        state: state of the run before its first step.
        model: model with the method attached.
        paused: undamaged folder of the paused run.
    """
    saved = read_state(paused.path)
    for _ in range(paused.step):
        next(state.batches)
    if state.keep:
        state.keep.skip_steps(paused.step)
    state.optimizer.load_state_dict(saved["optimizer"])
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(saved["buffers"][name])
    if saved["method"] and state.hooks.load_training_state:
        state.hooks.load_training_state(saved["method"])
    for name in _WRITTEN:
        shutil.copy(paused.path / name, state.writer.path / name)
    if (paused.path / "checkpoints").exists():
        target = state.writer.path / "checkpoints"
        shutil.copytree(paused.path / "checkpoints", target, dirs_exist_ok=True)
    _restore_random_states(saved["random"])  # last, as the above may draw
    return paused.contents


def _random_states() -> dict[str, Any]:
    """Return the states of all global generators, of which dropout and methods may draw."""
    numbers = np.random.get_state(legacy=False)  # noqa: NPY002  # the global one, which is seeded
    numbers["state"]["key"] = numbers["state"]["key"].tolist()
    return {
        "python": random.getstate(),
        "numpy": numbers,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
    }


def _restore_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002  # see above
    torch.set_rng_state(states["torch"])
    torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
    for one in states["mps"]:
        torch.mps.set_rng_state(one)

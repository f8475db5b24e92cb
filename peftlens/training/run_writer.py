"""A run's folder while it is being filled; see run.py for what lies where."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.runs.run import SCHEMA, Record, environment
from peftlens.runs.store import seal
from peftlens.training.data_loader import TokenizedTask
from peftlens.training.run_plan import RunPlan


class RunWriter:
    """Takes what a training has to say, and saves what it trains.

    Args:
        path: an empty folder.
        planned: the run.
    """

    def __init__(self, path: Path, planned: RunPlan) -> None:
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

    def step(self, taken: dict[str, Any], tokens: int, seconds: float) -> float:
        """What a step gave and took, if a line of it is due; returns its tokens per second."""
        step, config = taken["step"], self._plan.config.training
        speed = tokens / seconds
        if step % config.logging_steps == 0 or step in (1, config.max_steps):
            self.metrics(taken | {"tokens": tokens})
            self.timing({"step": step, "seconds": seconds, "tokens_per_second": speed})
        return speed

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self._path / name).open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def checkpoint(self, model: nn.Module, step: int) -> None:
        """Save what is trained, if the configuration asks for this step."""
        if step in self._plan.config.training.checkpoint_steps:
            self.save(model, f"checkpoints/{step}")

    def facts(self, trained: int, read: TokenizedTask) -> dict[str, Any]:
        """What of the results is known before the first step.

        Args:
            trained: parameters that the optimizer changes.
            read: the run's task as token ids.
        """
        task = self._plan.task
        return {
            "steps": self._plan.config.training.max_steps,
            "trainable_parameters": trained,
            "base_parameters": sum(math.prod(shape) for shape in self._plan.shapes.values()),
            "examples": {name: len(part) for name, part in task.splits.items()},
            "n_dropped": dict(task.dropped),
            "n_truncated": read.changed,
        }

    def finish(self, model: nn.Module, results: dict[str, Any], **where: Any) -> None:
        """Save what was trained, and what came out.

        Args:
            model: as it was in the end.
            results: without a validation loss where it diverged.
            where: more of what it was trained on.
        """
        self.save(model, "adapter")
        record = Record(
            schema_version=SCHEMA,
            id=self._plan.id,
            configuration=self._plan.configuration,
            config=self._plan.config,
            depends_on=self._plan.depends_on,
            environment=environment() | _accelerator(self._plan.base.device) | where,
            status="finished" if "validation_loss" in results else "diverged",
            results=results,
        )
        record.write(self._path)
        seal(self._path)

    def save(self, model: nn.Module, name: str) -> Path:
        """Save what is trained in a folder of this name; returns the folder."""
        config = self._plan.config
        checkpoint.save(
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

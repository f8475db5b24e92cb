"""A run before it is trained: checked against its base, data and method, with nothing left open."""

import json
from dataclasses import asdict, dataclass, fields
from types import ModuleType
from typing import Any

from peftlens import registry
from peftlens.data.method_context import MethodContext
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.models.architecture import Shapes
from peftlens.models.base_model import BaseModel, resident
from peftlens.runs.config import RunConfig
from peftlens.runs.run import run_id, versions
from peftlens.tasks import load_task


@dataclass(frozen=True)
class RunPlan:
    """What a run will do.

    Attributes:
        asked: as it was given, with device and dtype of this machine; planned again, it is the same
            run.
        config: as the run will record it, every default filled in.
        configuration: method and hyperparameters without the seed, in a few words.
        method_config: the method's own Config.
        shapes: of the base's parameters, before anything is attached.
        depends_on: see `run.Record`.
    """

    asked: RunConfig
    config: RunConfig
    configuration: str
    base: BaseModel
    task: Task
    method: ModuleType
    method_config: Any
    shapes: Shapes
    depends_on: dict[str, Any]

    @property
    def id(self) -> str:
        """Name of the run's folder."""
        return run_id(self.config, self.depends_on)


def plan_run(config: RunConfig, trust_remote_code: bool = False) -> RunPlan:
    """Check a configuration before anything is trained.

    Raises:
        InputError: a name, an option or a value that can't work; the message says which.
    """
    method = registry.load("methods", config.method)
    task = load_task(config.task, config.task_config)
    method_config = registry.configure("methods", config.method, config.method_config)
    base = resident(
        config.base_model,
        device=config.device,
        dtype=config.dtype,
        trust_remote_code=trust_remote_code,
    )
    training = config.training
    if hasattr(method, "resolve_config"):
        setting = MethodContext(base.tokenizer, task, config.seed, training.max_steps)
        method_config = method.resolve_config(method_config, setting)
    shapes = base.shapes
    # the formula refuses what does not fit the base; None: not known before it is attached
    if method.trainable_parameters(method_config, shapes) == 0:
        training = training.model_copy(update={"max_steps": 0, "checkpoint_steps": ()})
    if late := [step for step in training.checkpoint_steps if step > training.max_steps]:
        raise InputError(
            f"checkpoint_steps: {late[0]} lies after the last step, {training.max_steps}"
        )
    if training.learning_rate is None:
        training = training.model_copy(update={"learning_rate": method.LEARNING_RATE})
    where = {"device": base.device, "dtype": base.dtype}
    resolved = {
        "method_config": json.loads(json.dumps(asdict(method_config))),
        "training": training,
    }
    return RunPlan(
        asked=config.model_copy(update=where),
        config=config.model_copy(update=where | resolved),
        configuration=_in_words(config, method_config),
        base=base,
        task=task,
        method=method,
        method_config=method_config,
        shapes=shapes,
        depends_on={
            "base": base.sha256,
            "data": task.sha256,
            "versions": versions() | registry.versions("methods", config.method),
        },
    )


def _in_words(config: RunConfig, method_config: Any) -> str:
    """Such as `lora rank=8`: the method's main hyperparameter, and whatever else the user set."""
    first = {field.name: getattr(method_config, field.name) for field in fields(method_config)[:1]}
    shown = first if ":" not in config.method else {}  # what is behind the colon is said already
    shown |= dict(sorted(config.method_config.items()))  # in whichever order they were written
    if config.training.learning_rate is not None:
        shown["learning_rate"] = config.training.learning_rate
    words = (f"{key}={_short(value)}" for key, value in shown.items())
    return " ".join([config.method, *words])


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return " ".join(str(value).split())  # a text may have line breaks

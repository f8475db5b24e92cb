"""Plan of a run: its configuration, checked against base, data and method, with every default."""

import json
from dataclasses import asdict, dataclass, fields
from types import ModuleType
from typing import Any

from peftlens import registry
from peftlens.adapters.checkpoint import require_suitable
from peftlens.adapters.run_context import RunContext
from peftlens.data.head_tokenization import head_for
from peftlens.data.method_context import MethodContext
from peftlens.data.task import Task
from peftlens.data.trained_task import trained_task
from peftlens.errors import InputError
from peftlens.evaluation.answer_scores import require_score
from peftlens.evaluation.label_scores import require_seqeval
from peftlens.models.base_model import BaseModel
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.models.heads import Head
from peftlens.models.model_kind import require_language_model
from peftlens.models.target_modules import Shapes
from peftlens.runs.config import Keep, RunConfig
from peftlens.runs.run import run_id, versions
from peftlens.tasks import load_for_kind
from peftlens.training.keep_plan import require_keepable
from peftlens.training.sequence_length import resolved_length


@dataclass(frozen=True)
class RunPlan:
    """A run before training.

    Attributes:
        requested_config: configuration as requested, with device and dtype of this machine and the
            sequence length of the data; planning it again gives the same run.
        config: configuration with every default filled in.
        configuration: method and hyperparameters without the seed, in a few words.
        base: base model of the run.
        base_models: cache of the base model.
        task: task of the run, with shuffled training labels and canaries if the configuration says
            so.
        method: module of the method.
        method_config: Config of the method.
        shapes: shapes of the base's parameters, before the method is attached.
        depends_on: hashes and versions that can change the results, see `run.Record`.
        compiled: whether training passes run compiled blocks, where they can be compiled.
    """

    requested_config: RunConfig
    config: RunConfig
    configuration: str
    base: BaseModel
    base_models: BaseModelCache
    task: Task
    method: ModuleType
    method_config: Any
    shapes: Shapes
    depends_on: dict[str, Any]
    compiled: bool = False

    @property
    def id(self) -> str:
        """Name of the run's folder."""
        return run_id(self.config, self.depends_on)


def plan_run(config: RunConfig, context: RunContext) -> RunPlan:
    """Check a configuration before anything is trained.

    Args:
        config: configuration to check.
        context: access to the base model.

    Raises:
        InputError: a name, an option or a value is invalid; the message names it.
    """
    method = registry.load("methods", config.method)
    config, published = _with_head(config, context)
    task, head = published, head_for(published)
    task = trained_task(task, config, canaries=False)
    score_versions = require_score(task.answers.score) if task.answers else {}
    method_config = registry.configure("methods", config.method, config.method_config)
    base = context.configured_base_model(config, head)
    require_suitable(config.method, base.model)
    training = config.training
    if hasattr(method, "resolve_config"):
        method_context = MethodContext(base.tokenizer, task, config.seed, training.max_steps)
        method_config = method.resolve_config(method_config, method_context)
    if training.canaries and training.loss == "dpo":
        raise InputError("canaries are single texts, and loss='dpo' compares pairs; leave one out")
    shapes = base.derived("shapes", lambda: base.shapes)  # one copy for all runs of a study
    if not trains(method, method_config, shapes, head):
        nothing = {"max_steps": 0, "checkpoint_steps": (), "keep": None}
        training = training.model_copy(update=nothing)
    trained = method.trainable_parameters(method_config, shapes)
    kept = require_keepable(training, task, base, head, trained)
    if late := [step for step in training.checkpoint_steps if step > training.max_steps]:
        raise InputError(
            f"checkpoint_steps: {late[0]} lies after the last step, {training.max_steps}"
        )
    if training.learning_rate is None:
        training = training.model_copy(update={"learning_rate": method.LEARNING_RATE})
    length = {"max_length": resolved_length(training, base, published)}
    training, requested = (one.model_copy(update=length) for one in (training, config.training))
    placement = {"device": base.device, "dtype": base.dtype}
    resolved = {
        "method_config": json.loads(json.dumps(asdict(method_config))),
        "training": training,
    }
    return RunPlan(
        requested_config=config.model_copy(update=placement | {"training": requested}),
        config=config.model_copy(update=placement | resolved),
        configuration=_configuration_name(config, method_config),
        base=base,
        base_models=context.base_models,
        task=trained_task(published, config),
        method=method,
        method_config=method_config,
        shapes=shapes,
        depends_on={
            "base": base.sha256,
            "data": published.sha256,
            "versions": versions() | registry.versions("methods", config.method) | score_versions,
            **({"head": json.loads(json.dumps(asdict(head)))} if head else {}),
            **kept,
        },
    )


def _with_head(config: RunConfig, context: RunContext) -> tuple[RunConfig, Task]:
    """Load the task; on an encoder, a classification gets a head unless the task has one.

    Raises:
        InputError: an encoder is to predict text, or the loss of a head is not its own.
    """
    kind = context.kind_of_base_model(config)
    task, options = load_for_kind(config.task, config.task_config, kind)
    config = config.model_copy(update={"task_config": options})
    if not task.needs_head:
        require_language_model(kind, config.base_model)
    elif config.training.loss != "sft":
        raise InputError(f"loss={config.training.loss!r} compares texts, and a head writes none")
    if task.kind == "token_classification":
        require_seqeval()
    return config, task


def trains(method: ModuleType, method_config: Any, shapes: Shapes, head: Head | None) -> bool:
    """Whether a method trains anything on a base model of these shapes, with this head.

    Raises:
        InputError: a value does not fit the base model.
    """
    if head and getattr(method, "TRAINS_HEAD", False):
        return True
    return method.trainable_parameters(method_config, shapes) != 0  # None: known when attached


def _configuration_name(config: RunConfig, method_config: Any) -> str:
    """Name the method with its main hyperparameter and the user's, such as `lora rank=8`."""
    main = {field.name: getattr(method_config, field.name) for field in fields(method_config)[:1]}
    shown = main if ":" not in config.method else {}  # otherwise part of the method's name
    shown |= dict(sorted(config.method_config.items()))  # independent of the order in the file
    if config.training.learning_rate is not None:
        shown["learning_rate"] = config.training.learning_rate
    if config.training.shuffle_labels:
        shown["shuffle_labels"] = True
    if config.training.canaries:
        shown["canaries"] = config.training.canaries
    if config.training.loss != "sft":
        shown["loss"] = config.training.loss
    shown |= _shown_keep(config.training.keep)
    words = (f"{key}={_short(value)}" for key, value in shown.items())
    return " ".join([config.method, *words])


def _shown_keep(keep: Keep | None) -> dict[str, Any]:
    """Return the kind of what keeps a run near its base, and values that are not the defaults."""
    if keep is None:
        return {}
    usual = Keep(kind=keep.kind)
    others = {name: getattr(keep, name) for name in ("weight", "data")}
    changed = {f"keep_{k}": v for k, v in others.items() if v != getattr(usual, k)}
    return {"keep": keep.kind, **changed}


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return " ".join(str(value).split())  # a text may have line breaks

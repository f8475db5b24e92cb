"""Planning of a study: all runs of its file, validated before any is trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.io.progress import bar
from peftlens.models.base_model import resolve
from peftlens.runs.config import RunConfig
from peftlens.runs.configuration_names import configurations
from peftlens.studies.compilation import compiled_runs
from peftlens.studies.config import StudyConfig, expand, parse
from peftlens.studies.forecast import forecast
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.studies.study_file import read_text
from peftlens.studies.study_text import StudyText
from peftlens.studies.toml_lines import Place
from peftlens.tasks import load_task
from peftlens.training import batched_trainer
from peftlens.training.pause import keeps_state
from peftlens.training.run_plan import RunPlan, plan_run

# Memory of training in addition to the base model. Per trained weight: a float32 copy, its gradient
# and AdamW's two moments. In total: libraries, activations and logits of small batches.
_BYTES_PER_WEIGHT, _BASE_BYTES = 16, 1_500_000_000


@dataclass(frozen=True)
class StudyGrid:
    """A study file and its runs.

    Attributes:
        study: contents of the file.
        plans: plans of the distinct runs, in the file's order.
        labels: name of each run's configuration by run id.
    """

    study: StudyConfig
    plans: list[RunPlan]
    labels: dict[str, str]

    @property
    def options(self) -> probe_runner.Options:
        """Values of the probes' Configs; the sequence of tasks is an option of its probe."""
        continual = self.study.continual
        if continual is None:
            return self.study.probe_options
        options = {
            "tasks": [task.model_dump() for task in continual.tasks],
            "items": continual.items,
        }
        return {"sequence_items": options} | self.study.probe_options

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the measured probes: those in the file, or all that are not optional."""
        if self.study.probes is not None:
            return self.study.probes
        names = registry.names("probes")
        modules = {name: registry.load("probes", name) for name in names}
        optional = {name for name in names if getattr(modules[name], "OPTIONAL", False)}
        base = self.plans[0].base
        if base.head or base.kind == "encoder":
            optional -= {"linear_probes"}
        if self.study.continual:
            optional -= {"sequence_items", "sequence_scores", "continual", "continual_matrix"}
        return tuple(name for name in names if name not in optional)

    @property
    def bytes_per_run(self) -> int:
        """Upper estimate of the memory of the largest run, its base model included.

        Methods that can't count their parameters before they are attached count as zero.
        """
        base = int(self.plans[0].base.model.get_memory_footprint())
        return base + _BASE_BYTES + _BYTES_PER_WEIGHT * max(map(_trainable_parameters, self.plans))

    @property
    def bytes_on_disk(self) -> int:
        """Estimated size of all saved adapters and checkpoints."""
        return sum(
            4
            * _trainable_parameters(run_plan)
            * (1 + len(run_plan.config.training.checkpoint_steps))
            for run_plan in self.plans
        )

    def to_plan(self, compiled: Mapping[str, bool] | None = None) -> StudyPlan:
        """Convert to the plan that the supervisor reads without a model.

        Args:
            compiled: whether runs of earlier calls were to be compiled, by id.

        Raises:
            InputError: see `compiled_runs`.
        """
        base = self.plans[0].base
        gpus = torch.cuda.device_count() if base.device == "cuda" else 0
        probes = tuple(probe_runner.describe(name, self.options) for name in self.probes)
        measured = [probe.name for probe in probes if probe.each_run]
        forecasts = {plan.id: forecast(plan, measured) for plan in self.plans}
        operations = {run: one.training for run, one in forecasts.items()}
        chosen = compiled_runs(self.study.torch_compile, self.plans, operations, compiled or {})
        return StudyPlan(
            name=self.study.name,
            runs=tuple(
                PlannedRun(
                    id=run_plan.id,
                    configuration=self.labels[run_plan.id],
                    batch_key=batched_trainer.batch_key(run_plan),
                    config=run_plan.requested_config,
                    forecast=forecasts[run_plan.id],
                    compiled=run_plan.id in chosen,
                    pausable=self.study.continual is None and keeps_state(run_plan.method),
                )
                for run_plan in self.plans
            ),
            probes=probes,
            probe_options={name: dict(values) for name, values in self.options.items()},
            device=base.device,
            dtype=base.dtype,
            bytes_per_run=self.bytes_per_run,
            gpu_bytes=tuple(
                torch.cuda.get_device_properties(index).total_memory for index in range(gpus)
            ),
        )


def _trainable_parameters(run_plan: RunPlan) -> int:
    """Count a run's trainable parameters without a task's head, which is small.

    They are 0 if the method can't count them in advance.
    """
    if run_plan.base.head and getattr(run_plan.method, "TRAINS_HEAD", False):
        return 0
    return run_plan.method.trainable_parameters(run_plan.method_config, run_plan.shapes) or 0


def read_study(
    file: str | Path, *, full: bool = False, trust_remote_code: bool = False
) -> StudyGrid:
    """Read a study file and plan its runs; see `plan_study`."""
    context = RunContext(trust_remote_code=trust_remote_code)
    return plan_study(read_text(Path(file)), str(file), context, full=full)


def plan_study(
    text: str,
    source: str,
    context: RunContext,
    *,
    full: bool = False,
    dtypes: Mapping[str, str] | None = None,
) -> StudyGrid:
    """Plan every run of a study file.

    Args:
        text: text of the file.
        source: name of the file, for errors.
        context: source of the base model.
        full: whether to plan the larger study; see `config.parse`.
        dtypes: meaning of dtype="auto" by device, from an earlier call. It is measured where
            missing; measuring again on a busy machine could change the runs of a resumed study.

    Raises:
        InputError: the file, or anything it names, can't be used.
    """
    study = parse(text, source, full)
    device, _ = resolve(study.device, "float32")
    if study.dtype == "auto" and dtypes and device in dtypes:
        study = study.model_copy(update={"dtype": dtypes[device]})
    lines = StudyText(text, source, full)
    _check_shared(study, lines, context)
    plans = _plans(study, lines, context)
    return StudyGrid(study, plans, configurations(plans))


def _check_shared(study: StudyConfig, text: StudyText, context: RunContext) -> None:
    """Check probes, tasks and base model first, so that errors do not name a [[runs]] entry."""
    for name, values in study.probe_options.items():
        with _located(text, ("probe_options", name)):
            probe_runner.configure(name, values)
    for index, task in enumerate(study.tasks):
        place: Place = ("continual", "tasks", index) if study.continual else ("task",)
        with _located(text, (*place, "name"), place):
            load_task(task.name, task.model_extra or {})
    with _located(text, ("base_model",), ("device",), ("dtype",)):
        context.base_models.get(
            study.base_model,
            device=study.device,
            dtype=study.dtype,
            trust_remote_code=context.trust_remote_code,
        )


@contextmanager
def _located(text: StudyText, *tables: Place) -> Iterator[None]:
    """Add the line of the key to errors about values of these tables."""
    try:
        yield
    except InputError as error:
        raise text.error_in(tables, str(error)) from error


def _plans(study: StudyConfig, text: StudyText, context: RunContext) -> list[RunPlan]:
    plans: dict[str, RunPlan] = {}
    with bar("Planning", study.n_runs) as shown:
        for index, entry in enumerate(study.runs):
            place = ("runs", index)
            with _located(text, place, ("training",)):
                for configs in expand(study, entry):
                    for run_plan in _plan_sequence(configs, context):
                        plans.setdefault(run_plan.id, run_plan)
                        shown.advance()
    return list(plans.values())


def _plan_sequence(configs: list[RunConfig], context: RunContext) -> Iterator[RunPlan]:
    """Plan one configuration and seed: each task alone, and each after the previous task."""
    previous: RunPlan | None = None
    for config in configs:
        alone = plan_run(config, context)
        if len(configs) > 1:
            _require_comparable(alone, previous or alone)
        yield alone
        if previous is None:
            previous = alone
        else:
            continued = config.model_copy(update={"continue_from": previous.id})
            previous = plan_run(continued, context)
            yield previous


def _require_comparable(run_plan: RunPlan, first: RunPlan) -> None:
    """Refuse a sequence whose scores or whose models are of different kinds.

    Raises:
        InputError: a task has a head for numbers or tags, or only some tasks have heads.
    """
    task = run_plan.config.task
    if run_plan.task.needs_head and not run_plan.task.has_choices:
        raise InputError(
            f"task {task!r} is a {run_plan.task.kind}, and a sequence compares accuracies; give "
            "tasks with classes or candidate answers"
        )
    if run_plan.task.needs_head != first.task.needs_head:
        raise InputError(
            f"{task!r} {'has a' if run_plan.task.needs_head else 'has no'} head, unlike "
            f"{first.config.task!r}; give all tasks of a sequence head = 'classification', or none"
        )

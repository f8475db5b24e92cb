"""Every run of a study file, checked against base, data and methods before any is trained."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.models.base_model import resolve
from peftlens.runs.config import RunConfig
from peftlens.runs.run import configurations
from peftlens.studies.config import StudyConfig, entry_line, expand, parse
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.tasks import load_task
from peftlens.training import batched_trainer
from peftlens.training.run_plan import RunPlan, plan_run

# What training takes beside the base: a float32 copy of a weight, its gradient, AdamW's two
# moments; and libraries, activations and logits of small batches.
_BYTES_A_WEIGHT, _BYTES_ANYWAY = 16, 1_500_000_000


@dataclass(frozen=True)
class StudyGrid:
    """A study file and its runs.

    Attributes:
        study: what the file says.
        plans: in the file's order; each run once.
        labels: name of each run's configuration by run id.
    """

    study: StudyConfig
    plans: list[RunPlan]
    labels: dict[str, str]

    @property
    def options(self) -> probe_runner.Options:
        """Values for the probes' Configs; a sequence of tasks is told to the probe of it."""
        asked = self.study.continual
        if asked is None:
            return self.study.probe_options
        tasks = {"tasks": [task.model_dump() for task in asked.tasks], "items": asked.items}
        return {"sequence_scores": tasks} | self.study.probe_options

    @property
    def probes(self) -> tuple[str, ...]:
        """What is measured: what the file asks for, or every probe but those for a closer look."""
        if self.study.probes is not None:
            return self.study.probes
        names = registry.names("probes")
        found = {name: registry.load("probes", name) for name in names}
        asked = {name for name in names if getattr(found[name], "OPTIONAL", False)}
        if self.study.continual:
            asked -= {"sequence_scores", "continual", "continual_matrix"}
        return tuple(name for name in names if name not in asked)

    @property
    def bytes_per_run(self) -> int:
        """Memory that the largest run may take, its base included: an estimate from above.

        A method whose count is not known before it is attached counts as its base alone.
        """
        base = int(self.plans[0].base.model.get_memory_footprint())
        return base + _BYTES_ANYWAY + _BYTES_A_WEIGHT * max(map(_trained, self.plans))

    @property
    def bytes_on_disk(self) -> int:
        """What all runs save, as far as it is known before they are attached."""
        return sum(
            4 * _trained(one) * (1 + len(one.config.training.checkpoint_steps))
            for one in self.plans
        )

    def to_plan(self) -> StudyPlan:
        """The same for a process without a model."""
        base = self.plans[0].base
        gpus = torch.cuda.device_count() if base.device == "cuda" else 0
        return StudyPlan(
            name=self.study.name,
            runs=tuple(
                PlannedRun(
                    id=one.id,
                    configuration=self.labels[one.id],
                    batch_key=batched_trainer.batch_key(one),
                    config=one.requested_config,
                )
                for one in self.plans
            ),
            probes=tuple(probe_runner.describe(name, self.options) for name in self.probes),
            probe_options={name: dict(values) for name, values in self.options.items()},
            device=base.device,
            dtype=base.dtype,
            bytes_per_run=self.bytes_per_run,
            gpu_bytes=tuple(
                torch.cuda.get_device_properties(index).total_memory for index in range(gpus)
            ),
        )


def _trained(one: RunPlan) -> int:
    """Parameters that a run trains; 0 where that is not known before it is attached."""
    return one.method.trainable_parameters(one.method_config, one.shapes) or 0


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
        text: what the file says.
        source: its name, for errors.
        context: gives the base model.
        full: see `config.parse`.
        dtypes: what dtype="auto" was found to mean, by device; it is measured otherwise, and a busy
            machine could find another one when a study is resumed.

    Raises:
        InputError: the file, or anything it names, can't be used.
    """
    study = parse(text, source, full)
    on, _ = resolve(study.device, "float32")
    if study.dtype == "auto" and dtypes and on in dtypes:
        study = study.model_copy(update={"dtype": dtypes[on]})
    _check_shared(study, source, context)
    plans = _plans(study, partial(entry_line, text, full=full), source, context)
    return StudyGrid(study, plans, configurations(plans))


def _check_shared(study: StudyConfig, source: str, context: RunContext) -> None:
    """Open what all runs share, so that no [[runs]] entry is blamed for it."""
    for name, values in study.probe_options.items():
        try:
            probe_runner.configure(name, values)
        except InputError as error:
            raise InputError(f"{source}, [probe_options.{name}]: {error}") from error
    try:
        for task in study.tasks:
            load_task(task.name, task.model_extra or {})
        context.base_models.get(
            study.base_model,
            device=study.device,
            dtype=study.dtype,
            trust_remote_code=context.trust_remote_code,
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _plans(
    study: StudyConfig, line_of: Callable[[int], int], source: str, context: RunContext
) -> list[RunPlan]:
    plans: dict[str, RunPlan] = {}
    for index, entry in enumerate(study.runs):
        try:
            for configs in expand(study, entry):
                for one in _chained(configs, context):
                    plans.setdefault(one.id, one)
        except InputError as error:
            where = f"{source}, [[runs]] at line {line_of(index)}"
            raise InputError(f"{where}: {error}") from error
    return list(plans.values())


def _chained(configs: list[RunConfig], context: RunContext) -> Iterator[RunPlan]:
    """The runs of one configuration and seed: each task alone, and each after the one before it."""
    before: RunPlan | None = None
    for config in configs:
        alone = plan_run(config, context)
        yield alone
        if before is None:
            before = alone
        else:
            continued = config.model_copy(update={"continue_from": before.id})
            before = plan_run(continued, context)
            yield before

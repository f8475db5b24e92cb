"""Run context: base models shared by work on several runs, and whether their code may run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from peftlens.adapters import checkpoint
from peftlens.adapters.adapter_head import head_on_base
from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel, NoSuchDevice
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.models.heads import Head
from peftlens.models.model_kind import Kind
from peftlens.runs.config import RunConfig
from peftlens.runs.trained_model import TrainedModel


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Access to the base models of runs.

    Attributes:
        base_models: cache of the base models.
        trust_remote_code: whether Python code from a base model's folder may run.
    """

    base_models: BaseModelCache = field(default_factory=BaseModelCache)
    trust_remote_code: bool = False

    def kind_of_base_model(self, config: RunConfig) -> Kind:
        """Return the kind of a configuration's base model, which is not loaded for it.

        Raises:
            InputError: see `load_base_model`.
        """
        return self.base_models.kind(config.base_model, self.trust_remote_code)

    def configured_base_model(self, config: RunConfig, head: Head | None = None) -> BaseModel:
        """Return the base model of a configuration, on its device and in its dtype.

        Args:
            config: configuration of a run.
            head: head of its task.

        Raises:
            InputError: see `load_base_model`.
        """
        return self.base_models.get(
            config.base_model,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=self.trust_remote_code,
            head=head,
        )

    def base_model(self, run: TrainedModel) -> BaseModel:
        """Return the base model of a run, on the run's type of device if this machine has one.

        Raises:
            InputError: see `load_base_model`.
        """
        return self.base_model_with(run, self.head(run))

    def base_model_with(self, run: TrainedModel, head: Head | None) -> BaseModel:
        """Return the base model of a run with the head of another task.

        Raises:
            InputError: see `load_base_model`.
        """
        try:
            return self.configured_base_model(run.config, head)
        except NoSuchDevice:
            elsewhere = run.config.model_copy(update={"device": "auto"})
            return self.configured_base_model(elsewhere, head)

    def head(self, run: TrainedModel) -> Head | None:
        """Return the head that a run or an adapter was trained with."""
        if isinstance(run, ExternalAdapter):
            return head_on_base(run.file, run.config.base_model, self.trust_remote_code)
        return Head.recorded(run.record.depends_on)

    def shared_base_model(self, runs: Sequence[TrainedModel]) -> BaseModel:
        """Return the common base model of several runs.

        Raises:
            InputError: the runs have different base models.
        """
        bases = {self.base_model(run).sha256: run.config.base_model for run in runs}
        if len(bases) > 1:
            raise InputError(
                f"these runs have different base models ({', '.join(map(str, bases.values()))}), "
                "whose vocabularies differ; give runs of one base model"
            )
        return self.base_model(runs[0])

    @contextmanager
    def open_run(self, run: TrainedModel, step: int | None = None) -> Iterator[nn.Module]:
        """Attach a run to its base model for the duration of the block.

        Args:
            run: a finished run.
            step: step of a checkpoint; by default the end of training.

        Raises:
            InputError: see `checkpoint.attach_run`.
        """
        with checkpoint.open_run(run, self.base_model(run), step) as model:
            yield model

"""What work on several runs shares: the cache of base models, and whether these may bring code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from peftlens.adapters import checkpoint
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel, NoSuchDevice
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.runs.config import RunConfig
from peftlens.runs.trained_model import TrainedModel


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Access to the base models of runs.

    Attributes:
        base_models: the cache that they come from.
        trust_remote_code: run Python that a base model's folder brings along.
    """

    base_models: BaseModelCache = field(default_factory=BaseModelCache)
    trust_remote_code: bool = False

    def configured_base_model(self, config: RunConfig) -> BaseModel:
        """Return the base model that a configuration names, on its device and in its dtype.

        Raises:
            InputError: see `load_base_model`.
        """
        return self.base_models.get(
            config.base_model,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=self.trust_remote_code,
        )

    def base_model(self, run: TrainedModel) -> BaseModel:
        """Return a run's base model, on the run's device if this machine has one of its kind.

        Raises:
            InputError: see `load_base_model`.
        """
        try:
            return self.configured_base_model(run.config)
        except NoSuchDevice:
            return self.configured_base_model(run.config.model_copy(update={"device": "auto"}))

    def shared_base_model(self, runs: Sequence[TrainedModel]) -> BaseModel:
        """Return the base model that runs have in common.

        Raises:
            InputError: they have different ones.
        """
        bases = {self.base_model(run).sha256: run.config.base_model for run in runs}
        if len(bases) > 1:
            raise InputError(
                f"these runs have different bases ({', '.join(map(str, bases.values()))}), and "
                "their vocabularies are not the same; give runs of one of them"
            )
        return self.base_model(runs[0])

    @contextmanager
    def open_run(self, run: TrainedModel, step: int | None = None) -> Iterator[nn.Module]:
        """Attach a run to its base model for as long as the block lasts.

        Args:
            run: a finished run.
            step: a checkpoint instead of the end of training.

        Raises:
            InputError: see `checkpoint.attach_run`.
        """
        with checkpoint.open_run(run, self.base_model(run), step) as model:
            yield model

"""Switching between several adapters on one base model in memory, by swapping references."""

from pathlib import Path

from torch import nn

from peftlens.adapters.checkpoint import attach_run
from peftlens.errors import InputError, suggestion
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import Snapshot
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


class AdapterSet:
    """Adapters of several runs on one base model, one of which is active at a time.

    The base's weights are stored once; each adapter stores its trained tensors. A method that
    trains the base's weights (`full`) stores a copy of those.

    Example:
        ```python
        adapters = pl.AdapterSet(pl.load_base_model("smollm2-135m"))
        adapters.add("topics", run)
        model = adapters.use("topics")
        base = adapters.use(None)
        ```
    """

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._plain = Snapshot.of(base.model)
        self._held: dict[str, tuple[Snapshot, nn.Module]] = {}

    def add(self, name: str, folder: str | Path | TrainedModel, *, step: int | None = None) -> None:
        """Load a run's adapter, or one of its checkpoints, under a name; the base is active then.

        Raises:
            InputError: there is no run, or it was trained on another base.
        """
        run = Run(Path(folder)) if isinstance(folder, (str, Path)) else folder
        self._plain.restore()
        try:
            model = attach_run(run, self._base, step)
            self._held[name] = (Snapshot.of(self._base.model), model)
        finally:
            self._plain.restore()

    def use(self, name: str | None) -> nn.Module:
        """Activate one adapter, or none; models returned earlier are no longer valid.

        Raises:
            InputError: no adapter of that name was added.
        """
        if name is None:
            self._plain.restore()
            return self._base.model
        if name not in self._held:
            remedy = suggestion(name, self._held, "there are")
            raise InputError(f"no adapter named {name!r}; {remedy}")
        snapshot, model = self._held[name]
        self._plain.restore()
        snapshot.restore()
        return model

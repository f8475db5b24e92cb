"""The base model that a process keeps in memory: one at a time, shared by all work on it."""

from dataclasses import dataclass, field, replace

from peftlens.models.base_model import BaseModel, load_base_model, resolve
from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import Device, Dtype


@dataclass
class BaseModelCache:
    """Base models by everything that decides them; the last one stays in memory.

    Whoever starts work, such as a worker process or a command, creates one and hands it down, so
    that the model is not loaded again for each run. Code that changes the model restores it: see
    `snapshot.restored_after`.
    """

    _held: dict[tuple[str, str, str, bool], BaseModel] = field(default_factory=dict, init=False)

    def get(
        self,
        reference: str,
        *,
        device: Device = "auto",
        dtype: Dtype = "auto",
        trust_remote_code: bool = False,
    ) -> BaseModel:
        """Return the model in memory, or load it in the place of the one before.

        Args:
            reference: see `load_base_model`, as for the other arguments.
            device: auto and the device that it stands for are the same model.
            dtype: the same.
            trust_remote_code: a model that was loaded with its own code is not returned without.

        Raises:
            InputError: see `load_base_model`.
        """
        key = (reference, *resolve(device, dtype), trust_remote_code)
        if key not in self._held:
            self._held.clear()
            base = load_base_model(
                reference, device=device, dtype=dtype, trust_remote_code=trust_remote_code
            )
            self._held[key] = replace(base, state=fingerprint(base.model))
        return self._held[key]

    def discard(self) -> None:
        """Drop the model, so that the next `get` loads it from disk."""
        self._held.clear()

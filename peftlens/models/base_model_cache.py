"""Cache of the base model in memory: one at a time, shared by all work of a process."""

from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

from peftlens.models.base_model import BaseModel, base_kind, load_base_model, resolve
from peftlens.models.heads import Head
from peftlens.models.model_kind import Kind
from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import Device, Dtype


@dataclass
class BaseModelCache:
    """Cache of the last base model, keyed by all arguments of loading.

    A worker process or a command creates one cache and passes it on, so that the model is not
    loaded again for each run. Code that changes the model restores it: see
    `snapshot.restored_after`. The same base with other heads, as in a sequence of tasks, is not
    loaded again either while something else holds it, such as the plan of a run.
    """

    _held: dict[tuple[Any, ...], BaseModel] = field(default_factory=dict, init=False)
    _in_use: WeakValueDictionary[tuple[Any, ...], BaseModel] = field(
        default_factory=WeakValueDictionary, init=False
    )
    _kinds: dict[tuple[str, bool], Kind] = field(default_factory=dict, init=False)

    def get(
        self,
        reference: str,
        *,
        device: Device = "auto",
        dtype: Dtype = "auto",
        trust_remote_code: bool = False,
        head: Head | None = None,
    ) -> BaseModel:
        """Return the model in memory, or load it in place of the previous one.

        Args:
            reference: name of the model, see `load_base_model`.
            device: torch device; auto and its resolved device have the same key.
            dtype: dtype of the weights; auto and its resolved dtype have the same key.
            trust_remote_code: whether Python code from the model's folder may run; part of the key.
            head: head to put on the model; part of the key.

        Raises:
            InputError: see `load_base_model`.
        """
        key = (reference, *resolve(device, dtype), trust_remote_code, head)
        if key in self._held:
            return self._held[key]
        if any(other[:-1] != key[:-1] for other in self._held):
            self._in_use.clear()  # of another base
        self._held.clear()
        found = self._in_use.get(key)
        if found is None:
            base = load_base_model(
                reference,
                device=device,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                head=head,
            )
            found = replace(base, state=fingerprint(base.model))
        self._held[key] = self._in_use[key] = found
        return found

    def kind(self, reference: str, trust_remote_code: bool = False) -> Kind:
        """Return the kind of a model, which is not loaded for it; its files are read once.

        Raises:
            InputError: see `load_base_model`.
        """
        key = (reference, trust_remote_code)
        if key not in self._kinds:  # finding a model may read a large file, or ask the hub
            self._kinds[key] = base_kind(reference, trust_remote_code)
        return self._kinds[key]

    def discard(self) -> None:
        """Drop the model, so that the next `get` loads it from disk."""
        self._kinds.clear()
        self._held.clear()
        self._in_use.clear()

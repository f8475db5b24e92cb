"""External adapter: folder written by another program, its record, and its attachment."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn

from peftlens.adapters.adapter_file import CONFIG, HOLDING, PREFIX, WEIGHTS, AdapterFile, read
from peftlens.errors import InputError
from peftlens.io.files import sha256_file
from peftlens.layers.prefix import geometry
from peftlens.models.architecture import copy_weights
from peftlens.models.base_model import BaseModel
from peftlens.runs.config import UNKNOWN_TASK, RunConfig
from peftlens.runs.run import SCHEMA, Record
from peftlens.runs.trained_model import TrainedModel


@dataclass(frozen=True)
class ExternalAdapter(TrainedModel):
    """Adapter in a folder with adapter_config.json and adapter_model.safetensors.

    Attributes:
        path: folder of the adapter; nothing is written there.
        base_model: name of the base model; by default the one that the adapter names.
        trust_remote_code: whether the adapter's configuration may name Python code to import.
    """

    path: Path
    base_model: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def file(self) -> AdapterFile:
        """Configuration and header of the adapter.

        Raises:
            InputError: see `adapter_file.read`.
        """
        return read(self.path, trust_remote_code=self.trust_remote_code)

    @cached_property
    def record(self) -> Record:
        """Record of a run, limited to the adapter's method and base model."""
        base = self.base_model or self.file.config.get("base_model_name_or_path")
        if not base:
            raise InputError(f"{self.path / CONFIG} names no base model; give it by --base")
        return Record(
            schema_version=SCHEMA,
            id=sha256_file(self.path / WEIGHTS)[:12],
            configuration=f"{self.file.method} {self.path.resolve().name}",
            config=RunConfig(
                method=self.file.method,
                method_config=self.file.options,
                task=UNKNOWN_TASK,
                base_model=base,
            ),
            depends_on={},
            environment={},
            status="finished",
            results={"steps": 0},
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Saved steps: only 0, because the number of training steps is unknown."""
        return (0,)

    def adapter(self, step: int | None = None) -> Path:  # noqa: ARG002  # only one state exists
        """Return the folder itself."""
        return self.path

    @property
    def table_folder(self) -> None:
        """Folder of probe tables: None, because the adapter belongs to another program."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """Hashes of the files: none are recorded."""
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """Return the training metrics: none are recorded."""
        return []

    def timing(self) -> list[dict[str, Any]]:
        """Return the training times: none are recorded."""
        return []


def attach_adapter(file: AdapterFile, base: BaseModel) -> nn.Module:
    """Attach an adapter of peft to a base model, which is changed, only if it fits completely.

    Peft loads the tensors that fit and warns about the rest. Here the file must contain exactly the
    tensors that the configuration requires, with their shapes.

    Raises:
        InputError: the adapter does not fit the base model, or holds NaN.
    """
    file.require_sound()
    file.require_vocabulary(base.origin)
    _check_sizes(file, base)
    if _writes_into_base(file, base):
        copy_weights(base.model, [name for name, _ in base.model.named_parameters()])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about missing tensors, which are errors here
            model = peft.PeftModel.from_pretrained(base.model, str(file.folder))
    # peft's exceptions where tensors or options do not fit; any other exception is a defect
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{file.folder} does not fit {base.reference!r}: {line}") from error
    _check_complete(file, base, model)
    return model.eval()


def _writes_into_base(file: AdapterFile, base: BaseModel) -> bool:
    """Whether loading writes into the base model's tensors, which other runs share."""
    in_base = {name for name, _ in base.model.named_parameters()}
    fills = any(
        ".base_layer." in name or name.removeprefix(PREFIX) in in_base for name in file.header
    )
    biases = file.config.get("bias", "none") not in (None, "none")
    return file.initialization in HOLDING or biases or fills


def _check_sizes(file: AdapterFile, base: BaseModel) -> None:
    """Check the sizes in a prompt's configuration against those of the base model.

    Virtual tokens have the width of the embeddings, trained key-value caches that of all key heads.
    """
    config = base.model.config.get_text_config()
    _, heads, size = geometry(config)
    cached = file.adapter_type in ("PREFIX_TUNING", "CARTRIDGE")
    width = heads * size if cached else config.hidden_size
    for name, actual in (("token_dim", width), ("num_layers", config.num_hidden_layers)):
        value = file.config.get(name)
        if value is not None and value != actual:
            raise InputError(
                f"{file.folder / CONFIG} has {name}={value}, but {base.reference!r} has {actual}; "
                "give the adapter's base model by --base"
            )


def _check_complete(file: AdapterFile, base: BaseModel, model: peft.PeftModel) -> None:
    required = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    loaded = model.state_dict()
    shared = {_place(required[name]) for name in file.header if name in required}
    missing = [
        name
        for name, value in required.items()
        if name not in file.header and _place(value) not in shared
    ]
    unknown = [name for name in file.header if name not in required and name not in loaded]
    for names, problem in ((missing, "lacks"), (unknown, "has, in addition to those that fit,")):
        if names:
            listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise InputError(
                f"{file.folder / WEIGHTS} does not fit {base.reference!r}: it {problem} "
                f"{len(names)} tensors: {listed}; it is incomplete, or of another base model"
            )


def _place(value: torch.Tensor) -> tuple[Any, ...]:
    """Identify a tensor by its memory: some methods save a tensor of several layers once."""
    return value.data_ptr(), value.shape

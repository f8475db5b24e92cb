"""An adapter from another program: its folder, and its base model."""

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
    """A folder with adapter_config.json and adapter_model.safetensors.

    Attributes:
        path: the folder; nothing is written there.
        base_model: the base model's name; the one that the adapter names by default.
        trust_remote_code: let its configuration name code to import.
    """

    path: Path
    base_model: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def file(self) -> AdapterFile:
        """What lies there.

        Raises:
            InputError: see `adapter_file.read`.
        """
        return read(self.path, trust_remote_code=self.trust_remote_code)

    @cached_property
    def record(self) -> Record:
        """As much of a run's record as is known: the method and the base."""
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
        """One, and nobody knows after how many steps."""
        return (0,)

    def adapter(self, step: int | None = None) -> Path:  # noqa: ARG002  # there is one state only
        """The folder itself."""
        return self.path

    @property
    def table_folder(self) -> None:
        """None: the folder is somebody else's."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """None were written."""
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """Nothing of its training is recorded."""
        return []

    def timing(self) -> list[dict[str, Any]]:
        """Nothing of its training is recorded."""
        return []


def attach_adapter(file: AdapterFile, base: BaseModel) -> nn.Module:
    """One of peft's adapters on a base that is the caller's to change, complete or not at all.

    Peft loads what fits and remarks on the rest; here every tensor that the configuration asks for
    has to be in the file, with its shape, and no other one.

    Raises:
        InputError: it does not fit the base, or holds NaN.
    """
    file.require_sound()
    file.require_vocabulary(base.origin)
    _check_sizes(file, base)
    if _writes_into_base(file, base):
        copy_weights(base.model, [name for name, _ in base.model.named_parameters()])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on missing tensors, which are errors here
            model = peft.PeftModel.from_pretrained(base.model, str(file.folder))
    # what its many types raise where tensors or options do not fit; another one is a defect
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{file.folder} does not fit {base.reference!r}: {line}") from error
    _check_complete(file, base, model)
    return model.eval()


def _writes_into_base(file: AdapterFile, base: BaseModel) -> bool:
    """Whether loading fills or changes the base's own tensors, which are lent and must not be."""
    own = {name for name, _ in base.model.named_parameters()}
    fills = any(".base_layer." in name or name.removeprefix(PREFIX) in own for name in file.header)
    biases = file.config.get("bias", "none") not in (None, "none")
    return file.initialization in HOLDING or biases or fills


def _check_sizes(file: AdapterFile, base: BaseModel) -> None:
    """What a prompt's configuration says of its base, against the base.

    Vectors before the input are as wide as the embeddings, trained caches as all heads' keys.
    """
    config = base.model.config.get_text_config()
    _, heads, size = geometry(config)
    cached = file.adapter_type in ("PREFIX_TUNING", "CARTRIDGE")
    wide = heads * size if cached else config.hidden_size
    for name, real in (("token_dim", wide), ("num_layers", config.num_hidden_layers)):
        said = file.config.get(name)
        if said is not None and said != real:
            raise InputError(
                f"{file.folder / CONFIG} has {name}={said}, but {base.reference!r} has {real}; "
                "give its own base by --base"
            )


def _check_complete(file: AdapterFile, base: BaseModel, model: peft.PeftModel) -> None:
    wanted = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    own = model.state_dict()
    shared = {_place(wanted[name]) for name in file.header if name in wanted}
    missing = [
        name
        for name, value in wanted.items()
        if name not in file.header and _place(value) not in shared
    ]
    unknown = [name for name in file.header if name not in wanted and name not in own]
    for names, what in ((missing, "lacks"), (unknown, "has, beside what fits,")):
        if names:
            listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise InputError(
                f"{file.folder / WEIGHTS} does not fit {base.reference!r}: it {what} {len(names)} "
                f"tensors: {listed}; it is incomplete, or of another model"
            )


def _place(value: torch.Tensor) -> tuple[Any, ...]:
    """Tensors that several layers share are saved once by some."""
    return value.data_ptr(), value.shape

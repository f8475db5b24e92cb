"""Adapter file: read and validate an adapter's folder, without its base model or any of its code.

Only JSON and safetensors are read, and the configuration is checked against the weights' header
before memory is allocated: peft itself loads incomplete adapters and trusts every number in the
configuration.
"""

import errno
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from peftlens.adapters.adapter_config import (
    BASE,
    CONFIG,
    METHOD,
    TASK,
    InvalidAdapterError,
    read_config,
    require_regular,
)
from peftlens.adapters.consistency import require_consistent
from peftlens.adapters.other_formats import WEIGHTS, without_weights
from peftlens.adapters.tensor_names import module_of, owner_of
from peftlens.errors import InputError

VOCABULARY = "vocabulary"  # key in the metadata of our weights, see `vocabulary_sha256`

# LoRA initializations whose factors contain a part of the base weight in addition to the update;
# attaching such an adapter writes into the base model.
HOLDING = ("pissa", "olora", "corda", "loftq", "lora_ga")

_MOST_TENSORS = 500_000  # the largest mixtures of experts have 10^5 factors


@dataclass(frozen=True)
class Entry:
    """A tensor in the file.

    Attributes:
        dtype: dtype as safetensors writes it, such as BF16.
        shape: shape of the tensor.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class AdapterFile:
    """adapter_config.json, and the header of adapter_model.safetensors.

    Attributes:
        folder: folder of both files.
        config: the configuration.
        header: dtype and shape of every tensor, by its name in the file.
        metadata: metadata of the weights' file.
    """

    folder: Path
    config: dict[str, Any]
    header: dict[str, Entry]
    metadata: dict[str, str]

    @property
    def adapter_type(self) -> str:
        """Type in peft, such as LORA, or the name of a method of peftlens."""
        return self.config.get(METHOD) or self.config["peft_type"]

    @property
    def is_peft_type(self) -> bool:
        """Whether it is one of peft's types."""
        return METHOD not in self.config

    @property
    def method(self) -> str:
        """Name of the method in peftlens."""
        return f"peft:{self.adapter_type}" if self.is_peft_type else self.adapter_type

    @cached_property
    def options(self) -> dict[str, Any]:
        """Values of the method's Config: all for our methods, only the rank for peft's types."""
        if self.is_peft_type:
            return {"r": self.config["r"]} if self.config.get("r") is not None else {}
        apart = (METHOD, BASE, TASK)
        return {name: value for name, value in self.config.items() if name not in apart}

    @property
    def initialization(self) -> str:
        """Initialization of a LoRA, such as pissa."""
        return str(self.config.get("init_lora_weights")).split("_niter")[0].lower()

    @contextmanager
    def open_weights(self) -> Iterator[Any]:
        """Open the weights' file; tensors are read one at a time, on access."""
        with safe_open(self.folder / WEIGHTS, framework="pt") as file:
            yield file

    def tensor(self, opened: Any, name: str) -> torch.Tensor:
        """Read a tensor of an opened file; 8-bit floats, which torch can't compute with, as F32."""
        tensor = opened.get_tensor(name)
        return tensor.float() if self.header[name].dtype.startswith("F8") else tensor

    @cached_property
    def non_finite_tensors(self) -> list[str]:
        """Names of the tensors that hold NaN or infinite values."""
        with self.open_weights() as file:
            return [name for name in self.header if not self.tensor(file, name).isfinite().all()]

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the parameters that a LoRA adapts by name, such as mlp.experts.down_proj."""
        return tuple(self.config.get("target_parameters") or ()) if self.is_peft_type else ()

    def adapts_parameter(self, module: str) -> bool:
        """Whether a module's factors are those of a named parameter, stacked over its experts."""
        owner = owner_of(module)
        return any(_has_end(owner, name.rpartition(".")[0]) for name in self.experts)

    @cached_property
    def oversized_ranks(self) -> list[str]:
        """Descriptions of LoRA ranks that are larger than a side of their weight."""
        oversized = []
        for name, entry in self.header.items():
            other = self.header.get(name.replace("lora_A", "lora_B"))
            if name.endswith("lora_A.weight") and len(entry.shape) == 2 and other:
                rank, d_in = entry.shape
                if self.adapts_parameter(module_of(name)):
                    continue  # the experts' ranks together
                if rank > min(other.shape[0], d_in):
                    shape = f"{other.shape[0]} x {d_in}"
                    oversized.append(f"rank {rank} of {module_of(name)}, {shape}")
        return oversized

    @property
    def vocabulary(self) -> str | None:
        """Hash of the training vocabulary, where peftlens saved the adapter."""
        return self.metadata.get(VOCABULARY)

    def require_sound(self) -> None:
        """Refuse weights that would make every output NaN, and impossible ranks.

        Raises:
            InvalidAdapterError: the adapter has such a tensor; the message names it.
        """
        if self.oversized_ranks:
            raise InvalidAdapterError(
                f"{self.folder}: {self.oversized_ranks[0]}, is more than such a matrix can have; "
                "reduce it by `peftlens resize`"
            )
        if self.non_finite_tensors:
            raise InvalidAdapterError(
                f"{self.folder / WEIGHTS} holds NaN or infinite values in "
                f"{', '.join(self.non_finite_tensors[:3])}; train it again, or use an earlier "
                "checkpoint"
            )


def write_weights(
    tensors: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file such that the same tensors give the same bytes.

    The library's order of the metadata varies between files; it is sorted here.

    Raises:
        OSError: the disk is full or not writable.
    """
    try:
        safetensors.torch.save_file(dict(tensors), file, metadata=dict(metadata))
    except SafetensorError as error:  # only the disk can fail here
        match = re.search(r"os error (\d+)", str(error))
        number = int(match[1]) if match else errno.EIO
        raise OSError(number, os.strerror(number), str(file)) from error
    with file.open("r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        opened.seek(8)
        opened.write(text.ljust(size))


def read(folder: Path, *, trust_remote_code: bool = False) -> AdapterFile:
    """Read an adapter's folder and check its two files against each other.

    Args:
        folder: folder with adapter_config.json and adapter_model.safetensors.
        trust_remote_code: whether the configuration may name code; see `_refuse_code`.

    Raises:
        InvalidAdapterError: the adapter is invalid; the message names file, field and remedy.
        InputError: the folder is not an adapter, or could run code.
    """
    config = read_config(folder / CONFIG, trust_remote_code=trust_remote_code)
    weights = folder / WEIGHTS
    require_regular(weights)
    if not weights.is_file():
        raise InputError(without_weights(folder, config))
    header, metadata = _header(weights)
    if not header:
        raise InvalidAdapterError(f"{weights} holds no tensors; save the adapter again")
    adapter = AdapterFile(folder, config, header, metadata)
    require_consistent(adapter)
    return adapter


def _header(weights: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read dtypes and shapes of all tensors, and the metadata."""
    try:
        with safe_open(weights, framework="pt") as file:  # checks the whole header
            metadata = file.metadata() or {}
        with weights.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            entries = json.loads(opened.read(size))
    except (OSError, SafetensorError, ValueError) as error:
        raise InvalidAdapterError(
            f"{weights} can't be read: {error}; get the file again"
        ) from error
    entries.pop("__metadata__", None)
    if len(entries) > _MOST_TENSORS:
        raise InvalidAdapterError(
            f"{weights} holds {len(entries):,} tensors; the limit is {_MOST_TENSORS:,}"
        )
    header = {
        name: Entry(entry["dtype"], tuple(entry["shape"]))
        for name, entry in sorted(entries.items())
    }
    return header, metadata


def _has_end(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")

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
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open

from peftlens.adapters.adapter_config import (
    BASE,
    CONFIG,
    METHOD,
    PREFIX,
    TASK,
    InvalidAdapterError,
    expressions,
    read_config,
    require_regular,
)
from peftlens.adapters.expressions import slow_expression
from peftlens.adapters.factor_shapes import mismatch
from peftlens.adapters.field_types import is_prompt_type
from peftlens.adapters.other_formats import WEIGHTS, without_weights
from peftlens.adapters.tensor_names import module_and_part
from peftlens.errors import InputError

VOCABULARY = "vocabulary"  # key in the metadata of our weights, see `vocabulary_sha256`

# LoRA initializations whose factors contain a part of the base weight in addition to the update;
# attaching such an adapter writes into the base model.
HOLDING = ("pissa", "olora", "corda", "loftq", "lora_ga")

# dtypes of safetensors that hold weights, and those that hold indices and masks.
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
COUNTS = ("I64", "I32", "I16", "I8", "U8", "BOOL")
_INNER = ("lora_A.weight", "lora_A.default.weight", "lora_embedding_A")  # r is their first axis
_MOST_TENSORS = 500_000  # the largest mixtures of experts have 10^5 factors
DEFAULT_RANK = 8  # rank of a LoRA whose configuration names none


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


def module_of(name: str) -> str:
    """Return the base model's module that a LoRA tensor of peft belongs to."""
    return name.removeprefix(PREFIX).rpartition(".lora_")[0]


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
    _check_dtypes(adapter)
    _check_empty(adapter)
    _check_expressions(adapter)
    _check_sizes(adapter)
    _check_factors(adapter)
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


def _check_dtypes(adapter: AdapterFile) -> None:
    """Refuse tensors of a dtype that can't hold weights; some types of peft also save indices."""
    for name, entry in adapter.header.items():
        if entry.dtype in FLOATS or (entry.dtype in COUNTS and _holds_indices(adapter, name)):
            continue
        raise InvalidAdapterError(
            f"{adapter.folder / WEIGHTS} holds {name} as {entry.dtype}, which can't be trained "
            f"weights; save it in one of {', '.join(FLOATS)}"
        )


def _holds_indices(adapter: AdapterFile, name: str) -> bool:
    if not adapter.is_peft_type:
        return True  # such as the mask of a sparse update
    return any(part in name for part in ("indices", "indexes", "s_size", "scatter_index"))


def _check_empty(adapter: AdapterFile) -> None:
    """Refuse tensors without values; a LoRA's factors are matrices at least.

    AdaLoRA can prune all directions of a weight, which leaves factors of rank 0.
    """
    pruned = adapter.adapter_type == "ADALORA"
    factors = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
    empty = [
        name
        for name, entry in adapter.header.items()
        if (not entry.size and not (pruned and any(entry.shape) and ".lora_" in name))
        or (len(entry.shape) < 2 and name.endswith(factors))
    ]
    if empty:
        raise InvalidAdapterError(
            f"{adapter.folder / WEIGHTS} holds {len(empty)} empty or flattened tensors: "
            f"{', '.join(empty[:3])}; the parts of partitioned weights (DeepSpeed ZeRO-3, FSDP) "
            "were not gathered before saving: save the adapter again"
        )


def _check_expressions(adapter: AdapterFile) -> None:
    """Refuse a regular expression that would take for ever to match."""
    texts = [text for _, text in expressions(adapter.config)]
    modules = {module_of(name) or name for name in adapter.header}
    if slow := slow_expression(texts, modules):
        raise InvalidAdapterError(
            f"{adapter.folder / CONFIG} has the regular expression {slow[:100]!r}, which takes "
            "too long to match names of modules; write it without nested repetitions"
        )


def _check_sizes(adapter: AdapterFile) -> None:
    """Check ranks and sizes of prompts against the header, before peft allocates them."""
    config = adapter.config
    prompts = adapter.header.get("prompt_embeddings")
    if prompts is None and adapter.is_peft_type and is_prompt_type(adapter.adapter_type):
        raise InvalidAdapterError(
            f"{adapter.folder / WEIGHTS} holds no prompt_embeddings, the only tensor of a "
            f"{adapter.adapter_type}; get the file again"
        )
    if adapter.is_peft_type and prompts and (said := _unfit_prompt(adapter, prompts.shape)):
        raise InvalidAdapterError(
            f"{adapter.folder / CONFIG} has {said}; these files do not belong together"
        )
    if config.get("peft_type") == "LORA":
        for name, entry in adapter.header.items():
            _check_rank(adapter, name, entry.shape)


def _unfit_prompt(adapter: AdapterFile, shape: tuple[int, ...]) -> str | None:
    """Describe a number or a width of prompts that differs between the two files."""
    config, weights = adapter.config, adapter.folder / WEIGHTS
    tokens, width = config.get("num_virtual_tokens"), config.get("token_dim")
    if tokens is None and adapter.adapter_type == "CPT":
        tokens = shape[0]  # as many as its examples have
    parts = config.get("num_transformer_submodules") or 2  # an encoder and a decoder
    if len(shape) != 2 or tokens is None or shape[0] not in (tokens, parts * tokens):
        return f"num_virtual_tokens={tokens}, but {weights} holds {shape[0]} vectors, {list(shape)}"
    said = f"token_dim={width}"
    if width and adapter.adapter_type in ("PREFIX_TUNING", "CARTRIDGE"):
        layers = config.get("num_layers") or shape[1] // (2 * width)
        said, width = f"{said}, num_layers={layers}", 2 * width * layers  # keys and values
    return (
        f"{said}, but {weights} has vectors of {shape[1]} values"
        if shape[1] != (width or shape[1])
        else None
    )


def _check_factors(adapter: AdapterFile) -> None:
    """Refuse factors of one weight that can't be multiplied."""
    if not adapter.is_peft_type or adapter.config.get("use_bdlora"):
        return  # whose factors are blocks
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, entry in adapter.header.items():
        if found := module_and_part(name, adapter.adapter_type):
            shapes.setdefault(found[0], {})[found[1]] = entry.shape
    for module, parts in shapes.items():
        if pair := mismatch(adapter.adapter_type, parts):
            raise InvalidAdapterError(
                f"{adapter.folder / WEIGHTS} holds factors of {module} that can't be multiplied: "
                f"{pair}; get the file again"
            )


def _check_rank(adapter: AdapterFile, name: str, shape: tuple[int, ...]) -> None:
    """Compare the rank of a LoRA's A with the configuration."""
    if not name.endswith(_INNER) or not shape:
        return
    module, files = module_of(name), f"{adapter.folder / CONFIG}"
    stacked = adapter.adapts_parameter(module)
    ranks = _ranks(adapter, module)
    if shape[0] not in ranks and not (stacked and any(shape[0] % rank == 0 for rank in ranks)):
        raise InvalidAdapterError(
            f"{files} says rank {ranks[0]} for {module}, but {adapter.folder / WEIGHTS} has "
            f"{shape[0]}; these files do not belong together"
        )


def _ranks(adapter: AdapterFile, module: str) -> list[int]:
    """Return the ranks that the configuration allows for a module; several for experts."""
    patterns = adapter.config.get("rank_pattern") or {}
    owner = owner_of(module)
    names = [f"{owner}.{name.rpartition('.')[2]}" for name in adapter.experts]
    usual = adapter.config.get("r", DEFAULT_RANK)
    return [
        patterns.get(get_pattern_key(list(patterns), name), usual)
        for name in ([module] if not adapter.adapts_parameter(module) else names)
    ]


def owner_of(module: str) -> str:
    """Return the module of a parameter; peft wraps it once for each adapted parameter."""
    while module.endswith(".base_layer"):
        module = module.removesuffix(".base_layer")
    return module


def _has_end(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")

"""Adapter file: read and validate an adapter's folder, without its base model or any of its code.

Only JSON and safetensors are read, and the configuration is checked against the weights' header
before memory is allocated: peft itself loads incomplete adapters and trusts every number in the
configuration.
"""

import json
import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import PeftType
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from peftlens import registry
from peftlens.errors import InputError
from peftlens.models.origin import Origin, vocabulary_sha256

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
METHOD = "peftlens_method"  # key in the configuration of an adapter that is not of peft's types
VOCABULARY = "vocabulary"  # key in the metadata of our weights, see `vocabulary_sha256`
PREFIX = "base_model.model."  # prefix of peft's names of tensors
TYPES = tuple(str(kind.value) for kind in PeftType)

# LoRA initializations whose factors contain a part of the base weight in addition to the update;
# attaching such an adapter writes into the base model.
HOLDING = ("pissa", "olora", "corda", "loftq", "lora_ga")

_LARGEST_SCALE = 10_000.0  # upper limit for the scale of an update; scales in use are below 100
# Numeric fields of configurations, with the smallest valid value.
_NUMBERS = {"r": 0, "num_virtual_tokens": 1, "token_dim": 1, "num_layers": 1,
            "num_attention_heads": 1}  # fmt: skip


class InvalidAdapterError(InputError):
    """An adapter that can't work on any base: damaged, or with two contradictory files."""


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
            return {"r": self.config["r"]} if isinstance(self.config.get("r"), int) else {}
        apart = (METHOD, "base_model_name_or_path")
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

    @cached_property
    def non_finite_tensors(self) -> list[str]:
        """Names of the tensors that hold NaN or infinite values."""
        with self.open_weights() as file:
            return [name for name in self.header if not file.get_tensor(name).isfinite().all()]

    @cached_property
    def oversized_ranks(self) -> list[str]:
        """Descriptions of LoRA ranks that are larger than a side of their weight."""
        oversized = []
        for name, entry in self.header.items():
            other = self.header.get(name.replace("lora_A", "lora_B"))
            if name.endswith("lora_A.weight") and len(entry.shape) == 2 and other:
                rank, d_in = entry.shape
                if rank > min(other.shape[0], d_in):
                    shape = f"{other.shape[0]} x {d_in}"
                    oversized.append(f"rank {rank} of {module_of(name)}, {shape}")
        return oversized

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

    @property
    def vocabulary(self) -> str | None:
        """Hash of the training vocabulary, from the metadata or a tokenizer in the folder."""
        if VOCABULARY in self.metadata:
            return self.metadata[VOCABULARY]
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            return None
        try:
            return vocabulary_sha256(Tokenizer.from_file(str(file)).get_vocab())
        except Exception as error:  # tokenizers raises no narrower one
            raise InputError(f"{file} can't be read: {error}; delete it") from error

    def require_vocabulary(self, base: Origin) -> None:
        """Refuse a base model with another vocabulary, where the vectors have no meaning.

        Raises:
            InputError: the vocabularies differ; the message has both hashes.
        """
        trained, present = self.vocabulary, base.vocabulary
        if trained and present and trained != present:
            raise InputError(
                f"{self.folder} was trained with another vocabulary than that of {base.base!r} "
                f"({trained[:12]}, not {present[:12]}); give its base model by --base"
            )


def write_weights(
    tensors: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file such that the same tensors give the same bytes.

    The library's order of the metadata varies between files; it is sorted here.

    Raises:
        SafetensorError: the disk is full or not writable.
    """
    safetensors.torch.save_file(dict(tensors), file, metadata=dict(metadata))
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
    config = _config(folder / CONFIG)
    if not trust_remote_code:
        _refuse_code(folder / CONFIG, config)
    _check_numbers(folder / CONFIG, config)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise InputError(_without_weights(folder))
    try:
        with safe_open(weights, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            header = {
                name: Entry(str(one.get_dtype()), tuple(one.get_shape()))
                for name, one in slices.items()
            }
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InvalidAdapterError(
            f"{weights} can't be read: {error}; get the file again"
        ) from error
    if not header:
        raise InvalidAdapterError(f"{weights} holds no tensors; save the adapter again")
    adapter = AdapterFile(folder, config, header, metadata)
    _check_sizes(adapter)
    return adapter


def _config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(f"{file.parent} is not an adapter: it has no {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise InvalidAdapterError(f"{file} is damaged: {error}; get the file again") from error
    if not isinstance(config, dict):
        raise InvalidAdapterError(
            f"{file} is not the configuration of an adapter: it does not hold a JSON object"
        )
    if METHOD in config:
        registry.check("methods", str(config[METHOD]))
    elif config.get("peft_type") not in TYPES:
        raise InvalidAdapterError(
            f"{file} has peft_type={config.get('peft_type')!r}, which this version of peft does "
            f"not support; it supports {', '.join(TYPES)}"
        )
    return config


def _refuse_code(file: Path, config: dict[str, Any]) -> None:
    """Refuse fields that make peft import modules named in the file.

    peft writes a mapping to a class of transformers where no task type was set; it names only code
    that is loaded anyway, and peftlens does not read it. megatron.core is peft's default, and is
    imported only where megatron_config is set.
    """
    mapping = config.get("auto_mapping")
    parent = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    harmless = parent is None or str(parent).split(".")[0] == "transformers"
    megatron = config.get("megatron_config") or config.get("megatron_core") not in (
        None, "megatron.core",
    )  # fmt: skip
    for name, runs_code in (("auto_mapping", not harmless), ("megatron_core", megatron)):
        if runs_code:
            raise InputError(
                f"{file} has {name}, which makes peft import code by name; remove it, or allow it "
                "with --trust-remote-code"
            )


def _check_numbers(file: Path, config: dict[str, Any]) -> None:
    for name, least in _NUMBERS.items():
        value = config.get(name)
        if value is not None and (not _is_number(value) or value < least or value != int(value)):
            raise InvalidAdapterError(
                f"{file} has {name}={value!r}; it must be a whole number, at least {least}"
            )
    for name in ("lora_alpha", "alpha"):
        value = config.get(name)
        if value is None:
            continue
        if not _is_number(value) or not 0 < abs(value) < math.inf:
            raise InvalidAdapterError(
                f"{file} has {name}={value!r}; it must be a finite number other than 0, because it "
                "multiplies the whole update"
            )
        if abs(value) / (config.get("r") or 1) > _LARGEST_SCALE:
            raise InvalidAdapterError(
                f"{file} has {name}={value!r}: the update would be multiplied by "
                f"{value / (config.get('r') or 1):g}; scales in use are below 100"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _without_weights(folder: Path) -> str:
    """Describe the missing weights and the remedy; other formats are never opened."""
    others = [file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]
    if not others:
        return f"{folder} has no {WEIGHTS}; get the file, or save the adapter again"
    return (
        f"{folder / others[0]} was not opened, because that can run code; if you trust it, convert "
        "it: "
        'python -c "import torch, safetensors.torch as s; s.save_file('
        f"torch.load('{others[0]}', weights_only=True), '{WEIGHTS}')\""
    )


def _check_sizes(adapter: AdapterFile) -> None:
    """Check ranks and numbers of virtual tokens against the header, before peft allocates them."""
    config, file = adapter.config, adapter.folder / WEIGHTS
    prompts = adapter.header.get("prompt_embeddings")
    tokens = config.get("num_virtual_tokens")
    if adapter.is_peft_type and prompts and tokens is not None and prompts.shape[0] % tokens:
        raise InvalidAdapterError(
            f"{adapter.folder / CONFIG} has num_virtual_tokens={tokens}, but {file} holds "
            f"{prompts.shape[0]} vectors; these files do not belong together"
        )
    if config.get("peft_type") != "LORA":
        return
    patterns = config.get("rank_pattern") or {}
    for name, entry in adapter.header.items():
        if not name.endswith("lora_A.weight") or len(entry.shape) != 2:
            continue
        module = module_of(name)
        rank = patterns.get(get_pattern_key(list(patterns), module), config.get("r"))
        if entry.shape[0] != rank:
            raise InvalidAdapterError(
                f"{adapter.folder / CONFIG} says rank {rank} for {module}, but {file} has "
                f"{entry.shape[0]}; these files do not belong together"
            )

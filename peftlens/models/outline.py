"""Outline of a base model: names and shapes of its modules, from config.json alone.

transformers builds the model on the meta device, where tensors have shapes and no values, so a
model of any size takes no memory and no download of weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens.errors import InputError
from peftlens.io.hub import snapshot
from peftlens.models.base_model import BUILT_IN, locate
from peftlens.models.loading import quiet, reported_as
from peftlens.models.model_folder import DEPTHS, read_json

_DEEPEST = 1_000  # blocks; the deepest models in use have about 130
_MOST_EXPERTS = 10_000  # of one block; the largest models in use have about 500
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True)
class Outline:
    """Modules of a base model.

    Attributes:
        architecture: name of the model's class, such as LlamaForCausalLM.
        modules: (d_out, d_in) of each linear layer, and (rows, d) of each table, by dotted name.
        experts: (experts, ...) of each parameter that stacks the weights of experts, by name.
        layers: number of blocks of the language model.
        vocabulary: number of rows of its embedding table.
        tied: whether the output head is the embedding table.
    """

    architecture: str
    modules: dict[str, tuple[int, int]]
    experts: dict[str, tuple[int, ...]]
    layers: int
    vocabulary: int
    tied: bool


def read_outline(reference: str, *, trust_remote_code: bool = False) -> Outline:
    """Read the outline of a model.

    Args:
        reference: a built-in name, `org/name@revision`, a folder with config.json, that file, or a
            .gguf file.
        trust_remote_code: whether the configuration may name code to run.

    Raises:
        InputError: there is no configuration, or transformers can't build a model from it.
    """
    folder = _folder_of(reference)
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"{folder} has no config.json; give a model's folder or a hub id by --base"
        )
    raw = read_json(file)
    if "auto_map" in raw and not trust_remote_code:
        raise InputError(f"{file} has auto_map, which runs code; allow it by --trust-remote-code")
    _require_bounded(file, raw)
    with reported_as(f"base {reference!r}: {file} can't be used", "correct it"), quiet():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = _build(config, trust_remote_code)
    return _outline(model)


def _folder_of(reference: str) -> Path:
    path = Path(reference).expanduser()
    if path.name == "config.json" and path.is_file():
        return path.parent
    if path.is_dir() or path.suffix == ".gguf" or reference in BUILT_IN:
        return locate(reference)
    remedy = f"built in: {', '.join(BUILT_IN)}; or give a hub id or a folder with config.json"
    return snapshot(reference, ("config.json", "*.py"), "base model", remedy)


def _require_bounded(file: Path, config: dict[str, Any]) -> None:
    """Refuse numbers of blocks and experts that could be built for ever."""
    for key, value in config.items():
        limit = _DEEPEST if key in DEPTHS else _MOST_EXPERTS if key in _EXPERTS else None
        if isinstance(value, dict):
            _require_bounded(file, value)
        elif limit and isinstance(value, (int, float)) and value > limit:
            raise InputError(f"{file}: {key}={value:g} is more than {limit:,}; correct it")


def _build(config: Any, trust_remote_code: bool) -> PreTrainedModel:
    """Build the class that the configuration names: its names of modules are the adapter's."""
    named = (getattr(config, "architectures", None) or [""])[0]
    cls = getattr(transformers, named, None)
    if isinstance(cls, type) and issubclass(cls, PreTrainedModel):
        return cls(config)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return auto.from_config(config, trust_remote_code=trust_remote_code)


def _outline(model: PreTrainedModel) -> Outline:
    modules: dict[str, tuple[int, int]] = {}
    experts: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight: Any = getattr(module, "weight", None)
        if isinstance(module, (nn.Linear, nn.Embedding)):
            modules[name] = (weight.shape[0], weight.shape[1])
        elif isinstance(module, Conv1D):
            modules[name] = (weight.shape[1], weight.shape[0])  # stored as (d_in, d_out)
        for part, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 3:  # (experts, d_out, d_in), or transposed
                experts[f"{name}.{part}"] = tuple(parameter.shape)
    text = model.config.get_text_config()
    table: Any = model.get_input_embeddings()
    return Outline(
        architecture=type(model).__name__,
        modules=modules,
        experts=experts,
        layers=text.num_hidden_layers,
        vocabulary=table.weight.shape[0],
        tied=bool(text.tie_word_embeddings),
    )

"""Served modules: which modules of an adapter a serving program would apply to a base model.

Servers compare names: a name with a last part that they don't know stops the loading, and one that
they know at a place that the base lacks is, in vLLM and peft, left out without a word.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from gguf.tensor_mapping import TensorNameMap

from peftlens.adapters.adapter_file import AdapterFile
from peftlens.adapters.tensor_names import adapted_modules, module_and_part
from peftlens.inspection import vllm_models
from peftlens.inspection.serving_rules import SGLANG_TARGETS
from peftlens.models.outline import Outline

_WRAPPED = "model.language_model."  # of a language model inside another, in transformers
_OLD_WRAPPED = "language_model.model."  # before transformers 4.52, and in vLLM
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_STACKED = re.compile(r"\.experts(\.base_layer)?$")  # of target_parameters
_CONVERTED = ("Mixtral", "Qwen2Moe", "Qwen3Moe")  # experts one by one that peft stacks


@dataclass(frozen=True)
class Fate:
    """What becomes of one module.

    Attributes:
        kind: applied, ignored (left out without a word), or refused (the loading stops).
        reason: reason if it is not applied, and the remedy.
    """

    kind: Literal["applied", "ignored", "refused"]
    reason: str = ""


_APPLIED = Fate("applied")


def fates(program: str, file: AdapterFile, base: Outline) -> dict[str, Fate]:
    """Return the fate of each module that the adapter has factors for.

    Args:
        program: a key of `serving_rules.PROGRAMS`.
        file: the adapter.
        base: outline of the base model.
    """
    decide = _DECISIONS[program]
    found = {name: decide(name, base) for name in adapted_modules(file)}
    for name, other in _misfits(file, base).items():
        found[name] = Fate("refused", other)
    return found


def _misfits(file: AdapterFile, base: Outline) -> dict[str, str]:
    """Modules whose factors have another size than the base's weight, with both sizes."""
    found = {}
    for tensor, entry in file.header.items():
        split = module_and_part(tensor, file.adapter_type) if file.adapter_type == "LORA" else None
        name = _spelled(split[0], base) if split else ""
        if not split or name not in base.modules or len(entry.shape) != 2:
            continue
        d_out, d_in = base.modules[name]
        # a table is (rows, d): its A is (r, rows) and its B (d, r)
        sizes = {"lora_A": (1, d_in), "lora_B": (0, d_out),
                 "lora_embedding_A": (1, d_out), "lora_embedding_B": (0, d_in)}  # fmt: skip
        if split[1] in sizes:
            axis, expected = sizes[split[1]]
            if entry.shape[axis] != expected:
                found[split[0]] = (
                    f"its {split[1]} has {entry.shape[axis]} values for the base's {expected}; "
                    "give the base that it was trained on, with the same number of tokens"
                )
    return found


def _spelled(name: str, base: Outline) -> str:
    """Return a module's name as transformers has it now."""
    wrapped = any(one.startswith(_WRAPPED) for one in base.modules)
    if wrapped and name.startswith(_OLD_WRAPPED):
        return _WRAPPED + name.removeprefix(_OLD_WRAPPED)
    if wrapped and name == "language_model.lm_head":
        return "lm_head"
    return name.replace(".block_sparse_moe.", ".mlp.")


def _expert_owner(name: str) -> str | None:
    """Return the name of the module that holds the experts; None for another module."""
    if match := _EXPERT.search(name):
        return f"{name[: match.start()]}.experts"
    return name.removesuffix(".base_layer") if _STACKED.search(name) else None


def _has_experts(owner: str, base: Outline) -> bool:
    return any(one.rpartition(".")[0] == owner for one in base.experts) or any(
        one.startswith(f"{owner}.") for one in base.modules
    )


def _absent(base: Outline, name: str) -> str:
    known = next((one for one in base.modules if one.endswith(name.rpartition(".")[2])), None)
    like = f", whose names are like {known}" if known else ""
    return f"no module of {base.architecture}{like}; rename the tensors"


def _transformers(name: str, base: Outline) -> Fate:
    spelled = _spelled(name, base)
    owner = _expert_owner(spelled)
    if spelled in base.modules:
        return _APPLIED
    if owner and _has_experts(owner, base):
        one_by_one = _EXPERT.search(spelled) and any(
            part.rpartition(".")[0] == owner for part in base.experts
        )
        if not one_by_one or base.architecture.startswith(_CONVERTED):
            return _APPLIED
    return Fate("ignored", _absent(base, name))


def _vllm(name: str, base: Outline) -> Fate:
    if base.architecture in vllm_models.WITHOUT_LORA:
        return Fate("refused", f"{base.architecture} has no LoRA there; merge the adapter")
    spelled = _spelled(name, base)
    if base.architecture in vllm_models.PLAIN_NAMES_TOO and spelled.startswith("model.layers."):
        spelled = _WRAPPED + spelled.removeprefix("model.")
    if owner := _expert_owner(spelled):
        return _vllm_expert(spelled, owner, base)
    last = spelled.rpartition(".")[2]
    if last in ("lm_head", "embed_tokens") and not _has_tables(base):
        return Fate(
            "refused", f"{base.architecture} has no LoRA of tables there; merge the adapter"
        )
    if all(one.rpartition(".")[2] != last for one in base.modules):
        return Fate("refused", f"{last} is no linear layer of {base.architecture}; remove it")
    if spelled not in base.modules:
        return Fate("ignored", _absent(base, name))
    if _in_tower(spelled, base):
        return Fate("ignored", "outside of the language model; enable_tower_connector_lora adds it")
    return _APPLIED


def _has_tables(base: Outline) -> bool:
    """Whether tables can have LoRA; a language model inside another isn't judged."""
    return base.architecture in vllm_models.WITH_TABLES or any(
        one.startswith(_WRAPPED) for one in base.modules
    )


def _in_tower(name: str, base: Outline) -> bool:
    wrapped = any(one.startswith(_WRAPPED) for one in base.modules)
    return wrapped and not name.startswith(_WRAPPED) and name != "lm_head"


def _vllm_expert(name: str, owner: str, base: Outline) -> Fate:
    if not _has_experts(owner, base):
        return Fate("refused", f"{base.architecture} has no experts at {owner}; rename the tensors")
    stacked = base.architecture in vllm_models.STACKED_EXPERTS
    if stacked and _EXPERT.search(name):
        return Fate("refused", "its experts are one by one, the model's are stacked; start vLLM "
                    "with --enable-mixed-moe-lora-format")  # fmt: skip
    if not stacked and not _EXPERT.search(name):
        return Fate("refused", "its experts are stacked, the model's are one by one; start vLLM "
                    "with --enable-mixed-moe-lora-format and is_3d_lora_weight in the "
                    "request")  # fmt: skip
    return _APPLIED


def _sglang(name: str, base: Outline) -> Fate:
    """SGLang reads the number after `layers.` and the last part, whatever is in front."""
    last = name.rpartition(".")[2]
    if _STACKED.search(name):
        return Fate("refused", "stacked experts have no target module there; save them one by one")
    if last not in SGLANG_TARGETS and last not in ("w1", "w2", "w3"):
        return Fate("refused", f"{last} is no target module there; merge the adapter")
    if last in ("embed_tokens", "lm_head"):
        return _APPLIED
    spelled = _spelled(name, base)
    if _in_tower(spelled, base) and spelled in base.modules:
        return Fate("refused", "outside of the language model, whose layers of the same number it "
                    "would replace; merge the adapter")  # fmt: skip
    return _sglang_layer(spelled, last, base)


def _sglang_layer(name: str, last: str, base: Outline) -> Fate:
    block = re.search(r"layers\.(\d+)\.", name)
    if not block:
        return Fate("ignored", "no number after layers. in its name; rename the tensors")
    if int(block[1]) >= base.layers:
        return Fate("refused", f"the base has {base.layers} layers; give its own base")
    owner = _expert_owner(name)
    has_last = any(one.rpartition(".")[2] == last for one in base.modules)
    if not (_has_experts(owner, base) if owner else has_last):
        return Fate("refused", f"{base.architecture} has no such {last}; give its own base")
    return _APPLIED


def _llama_cpp(name: str, base: Outline) -> Fate:
    for prefix, new in ((_WRAPPED, "model."), ("language_model.", "")):
        if name.startswith(prefix):
            plain = new + name.removeprefix(prefix)
            break
    else:
        plain = name
    if _EXPERT.search(name) or _STACKED.search(name):
        return _llama_cpp_expert(name, base)
    if not _in_gguf(plain):
        return Fate("refused", "GGUF has no name for it; rename the tensors, or merge the adapter")
    inside = {one.replace(_WRAPPED, "model.", 1) for one in base.modules}
    return _APPLIED if plain in inside else Fate("refused", _absent(base, name))


def _llama_cpp_expert(name: str, base: Outline) -> Fate:
    owner = _expert_owner(_spelled(name, base))
    if owner is None or not _has_experts(owner, base):
        return Fate("refused", _absent(base, name))
    if _STACKED.search(name):
        return Fate("refused", "GGUF has no name for stacked experts; merge the adapter")
    return _APPLIED


@cache
def _gguf_names() -> frozenset[str]:
    """Hugging Face's names of modules for which GGUF has one, with {bid} for the block's number."""
    groups = (TensorNameMap.mappings_cfg, TensorNameMap.block_mappings_cfg)
    return frozenset(name for group in groups for names in group.values() for name in names)


def _in_gguf(name: str) -> bool:
    """Whether any architecture of GGUF has a tensor for a module of Hugging Face's name."""
    return re.sub(r"\.\d+(?=\.)", ".{bid}", name, count=1) in _gguf_names()


_DECISIONS: dict[str, Callable[[str, Outline], Fate]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "sglang": _sglang,
    "llama.cpp": _llama_cpp,
}

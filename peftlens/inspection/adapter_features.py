"""Adapter features: properties of an adapter that decide whether a serving program can load it.

Each feature is a function of the adapter's file and its base's outline, and describes where the
adapter has it; None where it has not.
"""

import json
from collections.abc import Callable

from peftlens.adapters.adapter_file import HOLDING, AdapterFile
from peftlens.adapters.tensor_names import adapted_modules, is_prompt, own_part, token_rows
from peftlens.errors import InputError
from peftlens.models.outline import Outline

_HEADS = ("score", "classifier")  # classification heads, which some programs load whole
_LARGEST_TOKENS = 2**26  # bytes of added_tokens.json


def listed(names: list[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _other_type(file: AdapterFile, _: Outline) -> str | None:
    lora = file.is_peft_type and file.adapter_type == "LORA"
    return None if lora or _prompt(file, _) else f"the type {file.adapter_type}"


def _own_method(file: AdapterFile, _: Outline) -> str | None:
    return None if file.is_peft_type else f"the method {file.adapter_type} of peftlens"


def _prompt(file: AdapterFile, _: Outline) -> str | None:
    return f"{file.adapter_type}, vectors before the input" if is_prompt(file) else None


def _dora(file: AdapterFile, _: Outline) -> str | None:
    has_magnitudes = any("lora_magnitude_vector" in name for name in file.header)
    return "DoRA" if file.config.get("use_dora") or has_magnitudes else None


def _rslora(file: AdapterFile, _: Outline) -> str | None:
    rank, alpha = file.config.get("r"), file.config.get("lora_alpha")
    if rank == 1 or not _set(file, "use_rslora"):
        return None  # alpha / sqrt(1) is alpha / 1
    return f"rsLoRA (scale {alpha} / sqrt({rank}))"


def _set(file: AdapterFile, field: str) -> bool:
    return bool(file.config.get(field))


def _field(name: str) -> Callable[[AdapterFile, Outline], str | None]:
    return lambda file, _: name if _set(file, name) else None


def _pattern(name: str, field: str) -> Callable[[AdapterFile, Outline], str | None]:
    """A pattern of ranks or alphas that differs from the common value."""

    def feature(file: AdapterFile, _: Outline) -> str | None:
        values = set((file.config.get(name) or {}).values()) - {file.config.get(field)}
        return f"{name} with {field} {listed(sorted(map(str, values)))}" if values else None

    return feature


def _bias(file: AdapterFile, _: Outline) -> str | None:
    biases = [
        name for name in file.header if name.endswith(".bias") and name.split(".")[-2] not in _HEADS
    ]
    return f"trained biases ({listed(biases)})" if biases else None


def _whole(file: AdapterFile) -> list[str]:
    """Whole weights of a LoRA's file, without biases and the copies that peft adds of tables."""
    if file.adapter_type != "LORA":
        return []
    rows = set(token_rows(file))
    return [
        name
        for name in file.header
        if own_part(name, "LORA") is None
        and name not in rows
        and not name.endswith((".bias", ".base_layer.weight"))
    ]


def _weights(kind: str, belongs: Callable[[str], bool]) -> Callable[..., str | None]:
    """A feature of whole weights whose names belong to a kind."""

    def feature(file: AdapterFile, _: Outline) -> str | None:
        names = [name for name in _whole(file) if belongs(name)]
        return f"{kind} ({listed(names)})" if names else None

    return feature


def _is_norm(name: str) -> bool:
    """Whether a tensor is a norm's weight, by the parts of its name that llama.cpp looks for."""
    return "_layernorm" in name or ".norm" in name


def _is_head(name: str) -> bool:
    return name.split(".")[-2] in _HEADS


def _in_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _token_rows(file: AdapterFile, _: Outline) -> str | None:
    names = token_rows(file)
    return f"rows of single tokens ({listed(names)})" if names else None


def _added_tokens(file: AdapterFile, base: Outline) -> str | None:
    path = file.folder / "added_tokens.json"
    if not path.is_file() or path.stat().st_size > _LARGEST_TOKENS:
        return None
    try:
        ids = json.loads(path.read_bytes())
        new = [token for token, number in ids.items() if number >= base.vocabulary]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged: it must hold an object of tokens and ids; get the file again"
        ) from error
    return f"added tokens beyond the base's {base.vocabulary} ({listed(new)})" if new else None


def _target_expression(file: AdapterFile, _: Outline) -> str | None:
    targets = file.config.get("target_modules")
    if not isinstance(targets, str) or targets in ("all", "all-linear"):
        return None
    return f"target_modules={targets[:60]!r}"


def _base_in_factors(file: AdapterFile, _: Outline) -> str | None:
    plain = ("pissa", "olora", "corda", "loftq")
    name = file.initialization
    return f"init_lora_weights={name}" if name in HOLDING and name in plain else None


def _tied_head(file: AdapterFile, base: Outline) -> str | None:
    heads = [one for one in adapted_modules(file) if one.endswith("lm_head")]
    return "a LoRA of lm_head" if heads and base.tied else None


def _query_without_value(file: AdapterFile, _: Outline) -> str | None:
    """Blocks with q_proj, k_proj or v_proj, but not with both of q_proj and v_proj."""
    found: dict[str, set[str]] = {}
    for module in adapted_modules(file):
        owner, part = module.rpartition(".")[::2]
        if part in ("q_proj", "k_proj", "v_proj"):
            found.setdefault(owner, set()).add(part)
    lone = [f"{one} has {', '.join(sorted(parts))}" for one, parts in found.items()
            if not {"q_proj", "v_proj"} <= parts]  # fmt: skip
    return listed(lone) if lone else None


def _up_without_gate(file: AdapterFile, base: Outline) -> str | None:
    modules = set(adapted_modules(file))
    gated = any(name.endswith(".gate_proj") for name in base.modules)
    lone = [
        one
        for one in adapted_modules(file)
        if one.endswith(".up_proj") and f"{one.removesuffix('up_proj')}gate_proj" not in modules
    ]
    return f"up_proj alone ({listed(lone)})" if lone and gated else None


FEATURES: dict[str, Callable[[AdapterFile, Outline], str | None]] = {
    "other_type": _other_type,
    "own_method": _own_method,
    "prompt": _prompt,
    "dora": _dora,
    "rslora": _rslora,
    "alpha_pattern": _pattern("alpha_pattern", "lora_alpha"),
    "rank_pattern": _pattern("rank_pattern", "r"),
    "bias": _bias,
    "head": _weights("a classification head", _is_head),
    "norms": _weights("trained norms", _is_norm),
    "other_weights": _weights("whole weights", lambda name: not (_is_norm(name) or _is_head(name))),
    "outer_weights": _weights(
        "whole weights outside of the blocks", lambda name: not (_in_block(name) or _is_head(name))
    ),
    "block_weights": _weights("whole weights in blocks", _in_block),
    "token_rows": _token_rows,
    "added_tokens": _added_tokens,
    "target_expression": _target_expression,
    "base_in_factors": _base_in_factors,
    "activated": _field("alora_invocation_tokens"),
    "replicated_layers": _field("layer_replication"),
    "block_diagonal": _field("use_bdlora"),
    "quantization_aware": _field("use_qalora"),
    "tied_head": _tied_head,
    "query_without_value": _query_without_value,
    "up_without_gate": _up_without_gate,
}

"""Consistency: checks of an adapter's weights against its configuration, from the header alone.

peft allocates whatever the configuration says before it compares anything, so a wrong number can
exhaust memory, and weights that do not fit can pass for an untrained adapter.
"""

from typing import TYPE_CHECKING

from peft.utils.other import get_pattern_key

from peftlens.adapters.adapter_config import (
    CONFIG,
    DEFAULT_RANK,
    InvalidAdapterError,
    expressions,
)
from peftlens.adapters.expressions import slow_expression
from peftlens.adapters.factor_shapes import mismatch
from peftlens.adapters.field_types import is_prompt_type
from peftlens.adapters.other_formats import WEIGHTS
from peftlens.adapters.tensor_names import module_and_part, module_of, owner_of

if TYPE_CHECKING:
    from peftlens.adapters.adapter_file import AdapterFile

# dtypes of safetensors that hold weights, and those that hold indices and masks.
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
_INTEGERS = ("I64", "I32", "I16", "I8", "U8", "BOOL")
_INNER = ("lora_A.weight", "lora_A.default.weight", "lora_embedding_A")  # r is their first axis


def require_consistent(adapter: "AdapterFile") -> None:
    """Refuse weights that contradict the configuration or each other.

    No weight is read and nothing of the configured sizes is allocated.

    Raises:
        InvalidAdapterError: the message names file, field or tensor, and remedy.
    """
    _check_dtypes(adapter)
    _check_empty(adapter)
    _check_expressions(adapter)
    _check_sizes(adapter)
    _check_factors(adapter)


def _check_dtypes(adapter: "AdapterFile") -> None:
    """Refuse tensors of a dtype that can't hold weights; some types of peft also save indices."""
    for name, entry in adapter.header.items():
        if entry.dtype in _FLOATS or (entry.dtype in _INTEGERS and _holds_indices(adapter, name)):
            continue
        raise InvalidAdapterError(
            f"{adapter.folder / WEIGHTS} holds {name} as {entry.dtype}, which can't be trained "
            f"weights; save it in one of {', '.join(_FLOATS)}"
        )


def _holds_indices(adapter: "AdapterFile", name: str) -> bool:
    if not adapter.is_peft_type:
        return True  # such as the mask of a sparse update
    return any(part in name for part in ("indices", "indexes", "s_size", "scatter_index"))


def _check_empty(adapter: "AdapterFile") -> None:
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


def _check_expressions(adapter: "AdapterFile") -> None:
    """Refuse a regular expression that would take for ever to match."""
    texts = [text for _, text in expressions(adapter.config)]
    modules = {module_of(name) or name for name in adapter.header}
    if slow := slow_expression(texts, modules):
        raise InvalidAdapterError(
            f"{adapter.folder / CONFIG} has the regular expression {slow[:100]!r}, which takes "
            "too long to match names of modules; write it without nested repetitions"
        )


def _check_sizes(adapter: "AdapterFile") -> None:
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


def _unfit_prompt(adapter: "AdapterFile", shape: tuple[int, ...]) -> str | None:
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


def _check_factors(adapter: "AdapterFile") -> None:
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


def _check_rank(adapter: "AdapterFile", name: str, shape: tuple[int, ...]) -> None:
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


def _ranks(adapter: "AdapterFile", module: str) -> list[int]:
    """Return the ranks that the configuration allows for a module; several for experts."""
    patterns = adapter.config.get("rank_pattern") or {}
    owner = owner_of(module)
    names = [f"{owner}.{name.rpartition('.')[2]}" for name in adapter.experts]
    usual = adapter.config.get("r", DEFAULT_RANK)
    return [
        patterns.get(get_pattern_key(list(patterns), name), usual)
        for name in ([module] if not adapter.adapts_parameter(module) else names)
    ]

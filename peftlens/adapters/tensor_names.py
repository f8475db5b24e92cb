"""Tensor names: parts of the names in an adapter's file, and names that peft assigns to nothing.

peft loads what fits and ignores the rest without a word, so an adapter saved through a wrapper
(torch.compile, FSDP, DistributedDataParallel) is loaded as an untrained one.
"""

from typing import TYPE_CHECKING

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from peftlens.adapters.adapter_config import PREFIX

if TYPE_CHECKING:
    from peftlens.adapters.adapter_file import AdapterFile

# Modules that other libraries put around a model in training.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
# Parts of the names of single trained tokens, which any type can have beside its own tensors.
_TOKEN_ROWS = ("token_adapter", "trainable_tokens_delta")
_WITHOUT_MODULES = ("XLORA",)
# Types whose tensors end right behind the part, so that anything between is an adapter's name.
_PLAIN_ENDS = ("LORA", "ADALORA", "IA3", "LOHA", "LOKR", "VERA", "HIRA")
_ENDS = ("", "weight", "bias", "default", "default.weight", "default.bias")
# Parts of LoRA's variants, which its layer class does not list.
_VARIANTS = ("lora_diag", "lora_monteclora_sampler", "lora_variant", "lora_E")


def own_part(name: str, kind: str) -> int | None:
    """Return the position of the segment that the type of adapter has added; None without one."""
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(PeftType(kind), "")
    family = f"{prefix.split('_')[0]}_"
    if not prefix:
        return None
    return next((n for n, one in enumerate(name.split(".")) if one.startswith(family)), None)


def module_and_part(name: str, kind: str) -> tuple[str, str] | None:
    """Split a tensor's name into its module and the type's part, such as lora_A; else None.

    The module is empty for tensors that all modules share.
    """
    position = own_part(name, kind)
    if position is None:
        return None
    segments = name.split(".")
    path = ".".join([*segments[:position], ""])
    module = path.removeprefix(PREFIX).removeprefix("base_model.").removesuffix(".")
    return module, ".".join(segments[position:]).removesuffix(".weight").removesuffix(".default")


def module_of(name: str) -> str:
    """Return the base model's module that a LoRA tensor of peft belongs to."""
    return name.removeprefix(PREFIX).rpartition(".lora_")[0]


def owner_of(module: str) -> str:
    """Return the module of a parameter; peft wraps it once for each adapted parameter."""
    while module.endswith(".base_layer"):
        module = module.removesuffix(".base_layer")
    return module


def adapted_modules(file: "AdapterFile") -> list[str]:
    """Return the modules that hold tensors of the adapter's type, in the file's order."""
    if not file.is_peft_type:
        return []
    found = [module_and_part(name, file.adapter_type) for name in file.header]
    return list(dict.fromkeys(one[0] for one in found if one and one[0]))


def replaced(file: "AdapterFile") -> list[str]:
    """Return the tensors that stand in place of the base's own: heads, norms, biases, tables."""
    if not file.is_peft_type or is_prompt(file):
        return []
    return [
        name
        for name in file.header
        if own_part(name, file.adapter_type) is None
        and not any(part in name for part in _TOKEN_ROWS)
        and name.startswith(PREFIX)
    ]


def token_rows(file: "AdapterFile") -> list[str]:
    """Return the tensors that hold rows of single tokens."""
    return [name for name in file.header if any(part in name for part in _TOKEN_ROWS)]


def is_prompt(file: "AdapterFile") -> bool:
    """Whether the adapter consists of vectors in front of the input, with names of their own."""
    return "prompt_embeddings" in file.header or any(
        name.startswith("prefix_task") for name in file.header
    )


def misplaced(file: "AdapterFile") -> dict[str, list[str]]:
    """Find names that no base model has a place for, by the reason."""
    found: dict[str, list[str]] = {}
    if not file.is_peft_type or is_prompt(file) or file.adapter_type in _WITHOUT_MODULES:
        return found
    for name in file.header:
        if reason := _misplaced(name, file.adapter_type):
            found.setdefault(reason, []).append(name)
    return found


def _misplaced(name: str, kind: str) -> str | None:
    segments = name.split(".")
    if wrapper := next((one for one in segments if one in _WRAPPERS), None):
        return f"hold {wrapper}, the name of a wrapper in training"
    if segments[0] == "module" or name.startswith(f"{PREFIX}module."):
        return "begin with module, the name of a wrapper in training"
    if name.startswith(PREFIX * 2):
        return f"begin with {PREFIX[:-1]} twice"
    if "modules_to_save" in segments and "default" not in segments[segments.index(
        "modules_to_save"
    ) + 1 :] and segments[-2] != "modules_to_save":  # fmt: skip
        return "hold an adapter's name behind modules_to_save"
    position = own_part(name, kind)
    if position is not None and kind in _PLAIN_ENDS:
        end = ".".join(segments[position + 1 :])
        if end not in _ENDS:
            return f"hold an adapter's name, {segments[position + 1]}, behind {segments[position]}"
    return None


def without_prefix(file: "AdapterFile") -> list[str]:
    """Return names that do not begin as those of peft, which only some bases accept."""
    if not file.is_peft_type or is_prompt(file) or file.adapter_type in _WITHOUT_MODULES:
        return []
    return [name for name in file.header if not name.startswith("base_model.")]


def unknown_parts(file: "AdapterFile") -> list[str]:
    """Return names whose part this version of peft does not know for the type."""
    if not file.is_peft_type:
        return []
    kind = file.adapter_type
    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(PeftType(kind))
    layer = getattr(tuner, "tuner_layer_cls", None)
    known = (
        *(getattr(layer, "adapter_layer_names", None) or ()),
        *(getattr(layer, "other_param_names", None) or ()),
    )
    if kind not in _PLAIN_ENDS or not known:
        return []
    parts = {name: own_part(name, kind) for name in file.header}
    return [
        name
        for name, position in parts.items()
        if position is not None
        and name.startswith(PREFIX)
        and name.split(".")[position] not in (*known, *_VARIANTS)
    ]

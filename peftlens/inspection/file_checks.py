"""File checks: what an adapter's two files say without its base model, as findings.

peft loads what fits and ignores the rest; each rule here names a reason for which less than the
whole adapter would be loaded.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath, PureWindowsPath

import peft
from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import check_target_module_exists

from peftlens.adapters import delta_factors
from peftlens.adapters.adapter_config import BASE, adapters_below
from peftlens.adapters.adapter_file import AdapterFile
from peftlens.adapters.field_types import field_types
from peftlens.adapters.tensor_names import (
    is_prompt,
    misplaced,
    module_and_part,
    own_part,
    owner_of,
    replaced,
    token_rows,
    unknown_parts,
    without_prefix,
)
from peftlens.inspection.findings import Finding
from peftlens.results.invocations import redacted

_HIGH_SCALE = 100.0  # scale of an update above which a warning is due
# Parts without which a module's update is lost; each alternative is complete.
_COMPLETE = {
    "LORA": ({"lora_A", "lora_B"}, {"lora_embedding_A", "lora_embedding_B"}),
    "ADALORA": ({"lora_A", "lora_B", "lora_E"},),
    "LOHA": ({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},),
    "LOKR": (
        {"lokr_w1", "lokr_w2"}, {"lokr_w1_a", "lokr_w1_b", "lokr_w2"},
        {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
        {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
    ),
}  # fmt: skip
# Fields on which an update depends, and which every version of peft has written.
_NEEDED = {"LORA": ("r", "lora_alpha"), "ADALORA": ("lora_alpha",), "LOHA": ("r", "alpha"),
           "LOKR": ("r", "alpha")}  # fmt: skip
# Tables, which peft saves where they were resized, or adapted.
_SAVED_BY_PEFT = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings",
                  "shared")  # fmt: skip
# Types whose tensors are not at the modules that target_modules names.
_OTHER_TARGETS = ("ADAPTION_PROMPT", "SHADOW", "TRAINABLE_TOKENS", "UNILORA")
# Tensors of LoRA's options: the field that says so, and the part of their names.
_OPTIONS = (("use_dora", "lora_magnitude_vector"), ("lora_bias", "lora_B.bias"))

# Variants of LoRA, on wherever their field is not null, and the part of their tensors' names.
_VARIANTS = (("kasa_config", "lora_diag"), ("monteclora_config", "monteclora"), ("use_bdlora", ""),
             ("arrow_config", ""))  # fmt: skip


def check_file(file: AdapterFile) -> list[Finding]:
    """Apply all rules to the configuration and the header; probes check the tensors."""
    rules = [_sizes, _names, _base_name, _below]
    if file.is_peft_type:
        rules += [_parts, _alike, _shared, _options, _targets, _siblings, _layers, _fields, _copies]
    return [finding for rule in rules for finding in rule(file)]


def _sizes(file: AdapterFile) -> Iterator[Finding]:
    for one in file.oversized_ranks:
        yield Finding("broken", f"{one}, more than possible.")
    config = file.config
    scale = (
        delta_factors.scale(config, "", config.get("r") or 1) if config.get("lora_alpha") else 1.0
    )
    if scale < 0 or scale > _HIGH_SCALE:
        yield Finding("warning", f"The update is multiplied by {scale:g}.")
    low = sorted({one.dtype for one in file.header.values() if one.dtype.startswith("F8")})
    if low:
        yield Finding("warning", f"It is kept in {', '.join(low)}, with 3 or 4 significant bits.")


def _names(file: AdapterFile) -> Iterator[Finding]:
    for reason, names in misplaced(file).items():
        yield Finding(
            "broken",
            f"{len(names)} tensors {reason}, so that peft finds no place for them: "
            f"{_listed(names)}; save the adapter again from the unwrapped model.",
        )
    if names := without_prefix(file):
        yield Finding(
            "warning",
            f"The names of {len(names)} tensors do not begin with base_model.model, and peft finds "
            f"a place for them in few models only: {_listed(names)}.",
        )
    beside = [name for name in file.header if not name.startswith(("prompt_", "prefix_task_"))]
    if is_prompt(file) and file.is_peft_type and beside:
        yield Finding(
            "warning", f"Beside its vectors it holds what peft ignores: {_listed(beside)}."
        )
    if names := unknown_parts(file):
        yield Finding(
            "broken",
            f"{len(names)} tensors have names that this version of peft does not know, and "
            f"ignores: {_listed(names)}.",
        )


def _base_name(file: AdapterFile) -> Iterator[Finding]:
    name = file.config.get(BASE)
    if not name:
        yield Finding("warning", "It names no base model, so users can't find it.")
    elif _is_local(name):
        yield Finding("warning", f"It names a local folder as its base model: {redacted(name)}.")


def _is_local(name: str) -> bool:
    """Whether a name is a path of some machine, of any system; hub ids have one slash at most."""
    return (
        PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).is_absolute()
        or bool(PureWindowsPath(name).drive)
        or name.startswith(("~", "./", "../", ".\\", "..\\", "file:"))
        or name.count("/") > 1
        or "\\" in name
    )


def _below(file: AdapterFile) -> Iterator[Finding]:
    if names := adapters_below(file.folder):
        yield Finding("ok", f"The folder also holds adapters below it: {_listed(names)}.")


def _parts(file: AdapterFile) -> Iterator[Finding]:
    """Compare the parts of every module with a complete set of the type."""
    complete = _COMPLETE.get(file.adapter_type, ())
    if any("lora_magnitude_vector" in name for name in file.header):
        complete = tuple(one | {"lora_magnitude_vector"} for one in complete)
    lacking: dict[str, list[str]] = {}
    for module, parts in _by_module(file).items():
        if complete and not any(one <= parts for one in complete):
            nearest = min(complete, key=lambda one: len(one - parts))
            lacking.setdefault(", ".join(sorted(nearest - parts)), []).append(module)
    for parts, modules in lacking.items():
        yield Finding("broken", f"{len(modules)} modules lack {parts}: {_listed(modules)}.")


def _alike(file: AdapterFile) -> Iterator[Finding]:
    """Compare the parts of modules with each other, in types whose parts are not listed here."""
    modules = _by_module(file)
    if file.adapter_type in _COMPLETE or not modules:
        return
    usual, _ = Counter(frozenset(parts) for parts in modules.values()).most_common(1)[0]
    if unlike := [module for module, parts in modules.items() if parts != usual]:
        yield Finding(
            "warning",
            f"{len(unlike)} modules hold other parts than the rest, which hold "
            f"{', '.join(sorted(usual))}: {_listed(unlike)}.",
        )


def _shared(file: AdapterFile) -> Iterator[Finding]:
    """Compare VeRA's shared projection with its vectors: it has rows for the widest output."""
    rows = [e.shape[0] for n, e in file.header.items() if n.endswith("vera_B") and e.shape]
    widths = [e.shape[0] for n, e in file.header.items() if "vera_lambda_b" in n and e.shape]
    if rows and widths and rows[0] < max(widths):
        yield Finding(
            "broken",
            f"Its shared projection vera_B has {rows[0]} rows, and its largest output is "
            f"{max(widths)}.",
        )


def _by_module(file: AdapterFile) -> dict[str, set[str]]:
    modules: dict[str, set[str]] = {}
    for name in file.header:
        found = module_and_part(name, file.adapter_type)
        if found and found[0]:
            modules.setdefault(found[0], set()).add(found[1])
    return modules


def _options(file: AdapterFile) -> Iterator[Finding]:
    """Compare options that add tensors with the tensors."""
    config = file.config
    for field, part in _OPTIONS if file.adapter_type == "LORA" else ():
        present = [name for name in file.header if part in name]
        if present and not config.get(field):
            yield Finding(
                "broken", f"It holds {part}, but its {field} is off, and peft ignores it."
            )
        if config.get(field) and not present:
            yield Finding("broken", f"Its {field} is on, but it holds no {part}.")
    for field, part in _VARIANTS if file.adapter_type == "LORA" else ():
        if config.get(field) is not None and not (part and any(part in n for n in file.header)):
            severity = "broken" if part else "warning"
            reason = f"it holds no {part}" if part else "only its base shows whether it fits"
            yield Finding(severity, f"Its {field} is on, but {reason}.")
    tokens = config.get("trainable_token_indices") or ()
    rows = token_rows(file)
    if bool(tokens) != bool(rows) and file.adapter_type != "TRAINABLE_TOKENS":
        state = "names trained tokens, but holds" if tokens else "holds rows of tokens, but names"
        yield Finding("broken", f"It {state} none.")
    saved = config.get("modules_to_save") or ()
    copies = replaced(file)
    missing = [one for one in saved if not any(f".{one}." in f".{name}" for name in copies)]
    if missing and (len(missing) == len(saved) or config.get("task_type") == "CAUSAL_LM"):
        severity = "broken" if len(missing) == len(saved) else "warning"
        yield Finding(severity, f"It lists {_listed(missing)} as saved whole, but lacks it.")


def _targets(file: AdapterFile) -> Iterator[Finding]:
    """Compare the modules in the file with those that the configuration adapts."""
    targets = file.config.get("target_modules")
    elsewhere = is_prompt(file) or file.adapter_type in _OTHER_TARGETS
    if not targets or targets == "all-linear" or elsewhere:
        return
    config = _peft_config(file)
    modules = [one for one in _by_module(file) if not file.adapts_parameter(one)]
    apart = [one for one in modules if not check_target_module_exists(config, owner_of(one))]
    if apart:
        yield Finding(
            "broken",
            f"{len(apart)} modules in the file are not among those that its configuration adapts, "
            f"so peft ignores them: {_listed(apart)}.",
        )
    ends = {one for one in targets if isinstance(targets, list)}
    unused = sorted(one for one in ends if not any(f".{m}".endswith(f".{one}") for m in modules))
    if modules and unused:
        yield Finding(
            "warning",
            f"It adapts {_listed(unused)} by its configuration, but holds no tensor of it.",
        )


def _peft_config(file: AdapterFile) -> peft.PeftConfig:
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(file.adapter_type)]
    known = field_types(file.adapter_type).keys() - {"runtime_config"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls.from_peft_type(**{k: v for k, v in file.config.items() if k in known})


def _siblings(file: AdapterFile) -> Iterator[Finding]:
    """Compare layers: the same parts of a block have the same modules, of the same shapes."""
    children: dict[str, dict[str, set[str]]] = {}  # kind of parent -> parent -> names of children
    for module in _by_module(file):
        parent, _, child = module.rpartition(".")
        children.setdefault(_without_numbers(parent), {}).setdefault(parent, set()).add(child)
    lacking = []
    for parents in children.values():
        every = set[str]().union(*parents.values())
        for parent, present in parents.items():
            lacking += [f"{parent}.{child}" for child in sorted(every - present)]
    listed = file.config.get("target_modules")
    if lacking and not (isinstance(listed, list) and any("." in one for one in listed)):
        yield Finding(
            "warning",
            f"{len(lacking)} modules are missing that other layers have: {_listed(lacking)}.",
        )
    if unlike := _unlike_shapes(file):
        yield Finding(
            "warning",
            f"{len(unlike)} tensors have another shape than those of other layers: "
            f"{_listed(unlike)}.",
        )


def _layers(file: AdapterFile) -> Iterator[Finding]:
    """Look for gaps: adapted layers are equally spaced, unless the configuration chooses them."""
    config = file.config
    if config.get("layers_to_transform") or not isinstance(config.get("target_modules"), list):
        return
    layers: dict[str, set[int]] = {}
    for module in _by_module(file):
        if number := re.search(r"\.(\d+)\.", module):
            kind = f"{module[: number.start()]}.N.{module[number.end() :]}"
            layers.setdefault(kind, set()).add(int(number[1]))
    for kind, numbers in layers.items():
        one = sorted(numbers)
        if len({b - a for a, b in pairwise(one)}) > 1:
            yield Finding("warning", f"{kind} is adapted in unequally spaced layers: {one}.")
            return  # the other modules of these layers have the same gap


def _unlike_shapes(file: AdapterFile) -> list[str]:
    """Return tensors whose shape, apart from a LoRA's rank, few others of their kind have."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    lora = file.adapter_type in ("LORA", "ADALORA")
    for name, entry in file.header.items():
        if own_part(name, file.adapter_type) is None:
            continue
        outer = entry.shape
        if lora and len(outer) > 1:
            outer = outer[1:] if "_A" in name else outer[:1]
        if "lora_E" not in name:
            shapes.setdefault(_without_numbers(name), {})[name] = outer
    unlike = []
    for alike in shapes.values():
        usual, count = Counter(alike.values()).most_common(1)[0]
        if 3 * count >= 2 * len(alike):
            unlike += [name for name, shape in alike.items() if shape != usual]
    return unlike


def _without_numbers(name: str) -> str:
    """Return a name with N for the numbers of layers and experts."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "N", name)


def _fields(file: AdapterFile) -> Iterator[Finding]:
    """Tell of fields that are missing, or that this version of peft does not know."""
    config, known = file.config, field_types(file.adapter_type)
    expected = _NEEDED.get(file.adapter_type, ())
    if config.get("peft_version") == peft.__version__:
        expected = (*expected, *(known.keys() - {"runtime_config", "auto_mapping"}))
    missing = sorted({name for name in expected if name not in config})
    if missing:
        defaults = ", ".join(f"{name} = {known[name][1]}" for name in missing[:3])
        yield Finding(
            "warning",
            f"Its configuration lacks {_listed(missing)}, for which peft takes its default: "
            f"{defaults}.",
        )
    unknown = sorted(name for name, value in config.items() if name not in known and value)
    if unknown:
        yield Finding(
            "warning",
            f"Its configuration has fields that this version of peft ignores: {_listed(unknown)}.",
        )


def _copies(file: AdapterFile) -> Iterator[Finding]:
    """Tell which of the base's own tensors the adapter replaces."""
    copies = replaced(file)
    if not copies:
        return
    saved = file.config.get("modules_to_save") or ()
    unnamed = [
        name
        for name in copies
        if not any(f".{one}." in f".{name}" for one in (*saved, *_SAVED_BY_PEFT))
        and not name.endswith(".bias")
        and "norm" not in name
    ]
    if unnamed:
        yield Finding(
            "warning",
            f"It holds {len(unnamed)} tensors that its configuration does not name, and that peft "
            f"ignores where the base has no such layer: {_listed(unnamed)}.",
        )
    total = sum(one.size for one in file.header.values())
    share = sum(file.header[name].size for name in copies) / total
    yield Finding(
        "warning" if share > 0.5 else "ok",
        f"It also holds full copies of layers of the base model, {share:.0%} of its "
        f"numbers, in {len(copies)} tensors: {_listed(copies)}.",
    )


def _listed(names: list[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")

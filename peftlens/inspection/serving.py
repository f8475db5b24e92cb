"""Serving: whether vLLM, SGLang, llama.cpp or transformers would apply an adapter to a base.

The adapter's two files and the base's config.json are sufficient; no weights are loaded, and none
of the programs is run or has to be installed.
"""

from collections.abc import Iterator

from peftlens.adapters.adapter_file import AdapterFile
from peftlens.errors import InputError, suggestion
from peftlens.inspection.adapter_features import FEATURES, listed
from peftlens.inspection.findings import Finding, Severity
from peftlens.inspection.served_modules import Fate, fates
from peftlens.inspection.serving_rules import PROGRAMS, Effect, Program
from peftlens.models.outline import Outline

_SEVERITIES: dict[Effect, Severity] = {
    "refused": "broken", "wrong": "broken", "ignored": "warning", "needs": "warning",
}  # fmt: skip


def check_program(name: str) -> Program:
    """Return a program by its name.

    Raises:
        InputError: there are no rules for it.
    """
    if name not in PROGRAMS:
        raise InputError(f"--for {name!r} is not known; {suggestion(name, PROGRAMS)}")
    return PROGRAMS[name]


def judge_serving(name: str, file: AdapterFile, base: Outline) -> list[Finding]:
    """Judge an adapter for a program: how many modules would apply, and each rule that it meets.

    Args:
        name: name of the program, a key of `PROGRAMS`.
        file: the adapter.
        base: outline of its base model.

    Raises:
        InputError: the program is not known, or added_tokens.json beside the adapter is damaged.
    """
    program = check_program(name)
    met = [*_rules(program, file, base), *_rank(program, file)]
    modules = fates(name, file, base)
    met += _refusals(program, modules)
    refused = any(one.severity == "broken" for one in met)
    return [*_count(program, modules, base, refused), *met]


def _rules(program: Program, file: AdapterFile, base: Outline) -> Iterator[Finding]:
    for rule in program.rules:
        if where := FEATURES[rule.feature](file, base):
            yield Finding(
                _SEVERITIES[rule.effect],
                f"{program.name} and {where}: {rule.text} ({_origin(program, rule.source)}).",
            )


def _origin(program: Program, source: str) -> str:
    return f"{program.version}, {source}"


def _rank(program: Program, file: AdapterFile) -> Iterator[Finding]:
    """Compare the largest rank with the program's default and its largest possible one."""
    if not program.default_rank or file.adapter_type != "LORA":
        return
    pattern = file.config.get("rank_pattern") or {}
    rank = max([file.config.get("r") or 0, *pattern.values()])
    source = _origin(program, "vllm/config/lora.py")
    if rank > program.ranks[-1]:
        yield Finding(
            "broken",
            f"{program.name} takes ranks up to {program.ranks[-1]}, and the adapter has {rank}; "
            f"`peftlens resize --rank {program.ranks[-1]}` ({source}).",
        )
    elif rank > program.default_rank:
        enough = next(one for one in program.ranks if one >= rank)
        yield Finding(
            "warning",
            f"{program.name} refuses rank {rank} by default; start it with "
            f"--max-lora-rank {enough} ({source}).",
        )


def _refusals(program: Program, modules: dict[str, Fate]) -> Iterator[Finding]:
    """One finding for each reason that modules are not applied."""
    by_reason: dict[Fate, list[str]] = {}
    for name, fate in modules.items():
        if fate.kind != "applied":
            by_reason.setdefault(fate, []).append(name)
    for fate, names in by_reason.items():
        does = "refuses" if fate.kind == "refused" else "leaves out without a word"
        yield Finding(
            "broken" if fate.kind == "refused" else "warning",
            f"{program.name} {does} {listed(names)}: {fate.reason} "
            f"({_origin(program, program.names)}).",
        )


def _count(
    program: Program, modules: dict[str, Fate], base: Outline, broken: bool
) -> Iterator[Finding]:
    """How many of the adapted modules apply."""
    if not modules:
        return
    applied = sum(one.kind == "applied" for one in modules.values())
    what = f"of {len(modules)} adapted modules, by {program.name} {program.version}"
    if any(one.kind == "refused" for one in modules.values()) or (broken and applied):
        places = f"{applied} {what}, have a place in {base.architecture}"
        yield Finding("broken", f"{places}, but it can't be served as it is; see the findings.")
    elif not applied:
        yield Finding("broken", f"None {what}, would apply to {base.architecture}: it would "
                      "answer as the base does.")  # fmt: skip
    else:
        severity: Severity = "ok" if applied == len(modules) else "warning"
        yield Finding(severity, f"{applied} {what}, would apply to {base.architecture}.")

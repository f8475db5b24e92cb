"""BibTeX entries for a study: the tool, its base model, methods and data.

references.bib holds the papers of built-in plug-ins, by arXiv number or the plug-in's name.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from peftlens import __version__, registry
from peftlens.errors import InputError
from peftlens.export.latex import escaped
from peftlens.registry import Kind
from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults

_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,]+),.*?^\}", re.DOTALL | re.MULTILINE)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_EPRINT = re.compile(r"eprint = \{([\d.]+)\}")


def bibtex(studies: Sequence[StudyResults]) -> str:
    """Return the entries of one or several studies, without duplicates."""
    entries = [_tool(studies)]
    for one in studies:
        entries += _of(one)
    return "\n\n".join(dict.fromkeys(entries))


def references() -> dict[str, str]:
    """Return the entries of references.bib, by key and by arXiv number."""
    text = (Path(__file__).parent / "references.bib").read_text(encoding="utf-8")
    entries = {}
    for entry in _ENTRY.finditer(text):
        entries[entry["key"]] = entry[0]
        if number := _EPRINT.search(entry[0]):
            entries[number[1]] = entry[0]
    return entries


def paper(kind: Kind, name: str, entries: dict[str, str]) -> str | None:
    """Return the entry of a plug-in's paper, if there is one."""
    plugin = name.partition(":")[0]
    try:
        source = registry.describe(kind, plugin).source
    except InputError:  # of a package that is not installed here
        return None
    return entries.get(source.removeprefix("arXiv:")) or entries.get(plugin)


def _of(one: StudyResults) -> Iterator[str]:
    papers = references()
    used = [(run.config, run.record.depends_on) for run in one.runs]
    # each once: finding a paper parses the source of its plug-in
    bases = {(config.base_model, hashes.get("base")): None for config, hashes in used}
    tasks = {(config.task, hashes["data"]): None for config, hashes in used if "data" in hashes}
    for base, sha256 in bases:
        yield papers.get(base) or _named(base, "weights", sha256)
    for name in dict.fromkeys(config.method for config, _ in used):
        if entry := paper("methods", name, papers):
            yield entry
    for task, sha256 in tasks:
        yield paper("tasks", task, papers) or _named(task, "data", sha256)


def _tool(studies: Sequence[StudyResults]) -> str:
    tables = "; ".join(f"{escaped(one.name)}: SHA-256 {one.sha256}" for one in studies)
    return (
        "@misc{peftlens,\n"
        "  author = {{The peftlens contributors}},\n"
        "  title = {{peftlens: train every family of parameter-efficient fine-tuning, "
        "and look inside what was trained}},\n"
        f"  version = {{{__version__}}},\n"
        f"  note = {{Result tables of {tables}}}\n"
        "}"
    )


def _is_repository(name: str) -> bool:
    """Whether a name is org/name of the hub, and no folder here."""
    return bool(_REPOSITORY.fullmatch(name)) and not Path(name).expanduser().exists()


def _named(reference: str, what: str, sha256: str | None) -> str:
    """Make the entry of a base model or task without a paper: its name and SHA-256 at use."""
    source, _, name = redacted(reference).rpartition(":")
    hub = source == "hub" or (not source and _is_repository(name))
    title = name if hub else Path(name).name
    key = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or what
    place = "  howpublished = {Hugging Face Hub},\n" if hub else ""
    note = f"  note = {{SHA-256 of its {what}: {sha256}}}\n" if sha256 else ""
    return f"@misc{{{key},\n  title = {{{{{escaped(title)}}}}},\n{place}{note}}}"

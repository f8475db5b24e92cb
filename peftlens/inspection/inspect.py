"""Inspect one adapter, from any tool: its type and size, defects, and effects on the base model.

Without a base model everything is read from the adapter's two files; with one, probes measure it.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType

from peftlens.adapters.adapter_config import CONFIG, TASK, InvalidAdapterError
from peftlens.adapters.adapter_file import AdapterFile
from peftlens.adapters.adapter_head import head_of_file
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.other_formats import WEIGHTS
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.token_tables import embedding_rows
from peftlens.diffing.text_sources import own_texts
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.evaluation.retention import QUICK_SUITES
from peftlens.inspection import findings
from peftlens.inspection.file_checks import check_file
from peftlens.inspection.findings import UNTRAINED, Finding
from peftlens.inspection.serving import check_program, judge_serving
from peftlens.inspection.training_state import (
    logits,
    reference_inputs,
    same,
    untrained,
)
from peftlens.io.hub import snapshot
from peftlens.models.outline import Outline, read_outline
from peftlens.results import study_results
from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults
from peftlens.results.table import Table, html_of, measured
from peftlens.runs.run import Run

_CHANGES = "activation_difference"
OF_THE_FILE = ("adapter_weights", "adapter_vectors")
WITH_A_BASE = (
    "delta_spectrum", "intruder_dimensions", "amplification", "soft_prompt_neighbors",
    "soft_prompt_null", "representation_shift", "logit_shift", "forgetting",
    "linear_probes",    _CHANGES,
)  # fmt: skip
SURVIVAL = ("update_survival", "update_survival_weights")
_FEW = {"items": 100, "random_updates": 3}  # half a minute for 135M parameters
_FETCHED = (CONFIG, WEIGHTS, "tokenizer.json")
_MANY = 4  # largest number of values that are listed
_NOT_LISTED = ("peft_type", "base_model_name_or_path", "revision", "task_type", "inference_mode",
           "auto_mapping", "peft_version", "target_modules", "token_dim", "num_layers",
           "num_attention_heads", "num_transformer_submodules")  # fmt: skip


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection.

    Attributes:
        folder: folder of the adapter.
        about: properties of the adapter, as pairs of name and value.
        findings: results of the checks, worst first.
        tables: tables with measurements, by probe.
        not_applicable: reasons of the probes without measurements, by probe.
        results: the tables in the form that a report reads.
    """

    folder: Path
    about: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    results: StudyResults
    tables: dict[str, Table] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> bool:
        """Whether the adapter can't work, or has no effect."""
        return any(one.severity == "broken" for one in self.findings)

    def _repr_html_(self) -> str:
        about = pd.DataFrame(self.about, columns=["property", "value"])
        found = pd.DataFrame([vars(one) for one in self.findings])
        return html_of(about) + html_of(found)


def inspect(  # noqa: PLR0913  # a request each
    target: str | Path,
    base: str | None = None,
    *,
    training_text: str = "",
    program: str | None = None,
    survival: bool = False,
    trust_remote_code: bool = False,
) -> Inspection:
    """Inspect an adapter.

    Args:
        target: a folder with adapter_config.json and adapter_model.safetensors, a run's folder, or
            `org/name@revision` on the hub.
        base: base model to load for measuring the adapter's effects; the name stored in the adapter
            is compared with it, but never loaded.
        training_text: file with text of the adapter's training, one a line, whose words are looked
            for in what it changed; needs the base.
        program: program that is to serve the adapter, a key of `serving_rules.PROGRAMS`; then of
            the base only config.json is read, and its effects are not measured.
        survival: whether to measure what is left of the update once it is merged and rounded to
            16, 8 or 4 bits; needs the base.
        trust_remote_code: whether a base model's configuration may name code to run.

    Raises:
        InputError: there is no adapter, it could run code, or the text can't be read; the program
            is not known; or there is no configuration of the base.
    """
    _check_requests(base, training_text, program, survival)  # before minutes of measuring
    outline = None if program is None else _outline_for(program, base, trust_remote_code)
    folder = located(target)
    adapter = ExternalAdapter(folder, base or "not given", trust_remote_code)
    context = RunContext(trust_remote_code=trust_remote_code)
    try:
        file = adapter.file
    except InvalidAdapterError as error:
        nothing = study_results.of_runs(folder, named(folder), [], {}, [])
        return Inspection(folder, (), (Finding("broken", f"{error}."),), nothing)
    said = check_file(file)
    if untrained(file):
        said.append(UNTRAINED)
    probes: tuple[str, ...] = OF_THE_FILE
    if base:
        said += _of_the_base(file, base)
    if program and outline:
        said += judge_serving(program, file, outline)
    elif base:
        fits = _fit(context, adapter, base)
        said += fits
        if fits[0].severity == "ok":
            probes += (*WITH_A_BASE, *(SURVIVAL if survival else ()))
    names = {adapter.id: f"{file.adapter_type} {named(folder)}"}
    options = {
        "forgetting": {"suites": QUICK_SUITES},
        _CHANGES: _FEW | {"training_text": training_text},
    }
    run = _run_of(folder, base)
    of_run = {*SURVIVAL, *(() if training_text else (_CHANGES,))}
    found = {
        one: _with_its_task(context, run, one, adapter.id, names[adapter.id])
        if one in of_run and run is not None
        else probe_runner.collect(context, [adapter], one, names, options)
        for one in probes
    }
    tables = {name: one for name, one in found.items() if len(measured(one.frame))}
    said += findings.judge({name: one.frame for name, one in tables.items()})
    said = list(dict.fromkeys(said))
    return Inspection(
        folder=folder,
        about=tuple(_about(file)),
        findings=tuple(findings.ordered(said)),
        tables=tables,
        not_applicable={
            name: str(one.frame["reason"].iloc[0])
            for name, one in found.items()
            if name not in tables
        },
        results=study_results.of_runs(
            folder,
            named(folder),
            [adapter] if base and not program else [],
            names,
            list(tables.values()),
        ),
    )


def _check_requests(
    base: str | None, training_text: str, program: str | None, survival: bool
) -> None:
    """Refuse requests that need more than was given."""
    if training_text:
        own_texts(training_text)
        if not base:
            raise InputError("training_text is compared with a base model's words; give --base")
    if survival and (program or not base):
        raise InputError("--survival merges the update into its base; give --base, without --for")


def _run_of(folder: Path, base: str | None) -> Run | None:
    """Return the run whose adapter on this base a folder is; None for one of another program."""
    whole = folder.resolve().parent
    if not (whole / "run.json").is_file():
        return None
    run = Run(whole)
    return run if run.config.base_model == base else None


def _with_its_task(context: RunContext, run: Run, probe: str, adapter: str, named: str) -> Table:
    """Measure a run as such, because its task is known."""
    one = probe_runner.saved_or_collected(context, [run], probe, {}, {_CHANGES: _FEW})
    return replace(one, frame=one.frame.assign(run=adapter, configuration=named), runs=(adapter,))


def named(folder: Path) -> str:
    """Name an adapter: by its folder, or by its run's."""
    whole = folder.resolve()
    return whole.parent.name if (whole.parent / "run.json").is_file() else whole.name


def located(target: str | Path) -> Path:
    """Find the folder of an adapter: the target itself, in a run's folder, or from the hub.

    Raises:
        InputError: there is no adapter.
    """
    folder = Path(target).expanduser()
    if (folder / "run.json").is_file():
        return folder / "adapter"
    if folder.exists():
        return folder if folder.is_dir() else folder.parent
    remedy = "give an adapter's folder, a run's, or a hub id"
    return snapshot(str(target), _FETCHED, "adapter", remedy)


def _outline_for(program: str, base: str | None, trust_remote_code: bool) -> Outline:
    """Read the outline of the base that a program is to serve."""
    check_program(program)
    if base is None:
        raise InputError(
            f"--for {program} compares the adapter with its base's configuration: give --base, a "
            "folder with config.json or a hub id"
        )
    return read_outline(base, trust_remote_code=trust_remote_code)


def _of_the_base(file: AdapterFile, base: str) -> list[Finding]:
    named = file.config.get("base_model_name_or_path")
    if named in (None, base):
        return []
    return [Finding("warning", f"It names {redacted(named)} as its base model, not {base}.")]


def _fit(context: RunContext, adapter: ExternalAdapter, base: str) -> list[Finding]:
    """Whether it goes on; the base itself has to be there."""
    file = adapter.file
    try:
        head_of_file(file)
    except InputError as error:
        return [Finding("broken", f"{error}.")]
    loaded = context.base_model(adapter)
    inputs = reference_inputs(file, loaded)
    before = None if inputs is None else logits(loaded.model, inputs)
    try:
        with context.open_run(adapter) as model:
            rows = embedding_rows(loaded.model)
            after = None if inputs is None else logits(model, inputs)
    except InputError as error:
        return [Finding("broken", f"{error}.")]
    said = [Finding("ok", f"It fits {base}: every tensor has its place.")]
    if before is not None and after is not None and same(after, before, loaded.dtype):
        said.append(UNTRAINED)
    present = embedding_rows(loaded.model)
    if rows != present:
        said.append(
            Finding(
                "warning",
                f"Its tables have {rows} rows, those of {base} {present}: to load it with peft, "
                f"call model.resize_token_embeddings({rows}) first.",
            )
        )
    return said


def _about(file: AdapterFile) -> list[tuple[str, str]]:
    header = file.header.values()
    size = (file.folder / WEIGHTS).stat().st_size
    modules = file.config.get("target_modules")
    places = modules if isinstance(modules, str) else ", ".join(sorted(modules or ()))
    properties = [
        (
            "type",
            file.adapter_type
            if file.is_peft_type
            else f"{file.adapter_type}, a method of peftlens",
        ),
        ("options", ", ".join(_options(file)) or "all at their defaults"),
        ("task", _task(file)),
        ("on", places),
        ("n_values", f"{sum(one.size for one in header):,} in {len(header)} tensors"),
        ("kept in", " ".join(sorted({one.dtype for one in header}))),
        ("size", f"{size / 1e6:.2f} MB"),
        ("base", redacted(file.config.get("base_model_name_or_path") or "")),
        ("saved by peft", str(file.config.get("peft_version") or "")),
    ]
    return [(name, value) for name, value in properties if value]


def _task(file: AdapterFile) -> str:
    """Return peft's task type, with the number of classes where there is a head."""
    task = file.config.get(TASK) or ""
    try:
        head = head_of_file(file)
    except InputError:
        return f"{task}, without its head"
    outputs = len(head.labels) or int(head.is_regression) if head else 0
    named = f": {', '.join(head.labels)}" if head and head.labels and head.is_named else ""
    return f"{task}, {outputs} output{'s'[: outputs > 1]}{named}" if outputs else task


def _options(file: AdapterFile) -> list[str]:
    """List the options: of peft's types those not at their default, of our methods all."""
    if not file.is_peft_type:
        return [f"{name} = {value}" for name, value in file.options.items()]
    kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(file.adapter_type)]
    defaults = {one.name: one.default for one in fields(kind)}
    return [
        f"{name} = {_shortened(value)}"
        for name, value in sorted(file.config.items())
        if name not in _NOT_LISTED
        and name in defaults
        and value not in (defaults[name], None, [], {})
    ]


def _shortened(value: Any) -> str:
    """Write a value, or the number of values of a long list or dictionary."""
    many = isinstance(value, (dict, list)) and len(value) > _MANY
    return f"{len(value)} values" if many else str(value)

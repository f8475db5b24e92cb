"""A study carried out: the runs that its file names, and the tables that they give.

DIR/study.toml            the file as it was given
    study.json            its runs, by id, with the names of their configurations
    runs/<run_id>/        see run.py
    failed/<run_id>.json  runs that raised: configuration, error and traceback
    tables/<probe>.parquet
"""

import json
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftlens import measuring, registry, table, training
from peftlens.errors import BadInput
from peftlens.files import write_atomic
from peftlens.models.base import discard_resident, resident
from peftlens.models.lending import state_of
from peftlens.planning import Plan, plan
from peftlens.progress import say
from peftlens.run import Run, RunConfig, configurations
from peftlens.studyfile import StudyConfig, entry_line, expand, parse
from peftlens.tasks import load_task


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Attributes:
        folder: where it lies.
        runs: finished runs, in the study's order.
        failed: one line for each run or probe that raised.
    """

    folder: Path
    runs: tuple[Run, ...]
    failed: tuple[str, ...]


def carry_out(file: str | Path, out: str | Path, *, trust_remote_code: bool = False) -> Outcome:
    """Train what is not trained yet, measure it, and write the tables.

    All runs are checked before the first is trained. A run that raises is recorded under failed/
    and the study goes on; a finished run is never trained again.

    Raises:
        BadInput: the file, or anything it names, can't be used.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        RuntimeError: a run changed the base model, and so the next ones would be wrong.
    """
    text, out = _read(Path(file)), Path(out)
    study, plans = _planned(text, str(file), trust_remote_code)
    labels = configurations(plans)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "study.toml", text.encode())
    index = {"name": study.name, "runs": list(labels), "configurations": labels}
    write_atomic(out / "study.json", (json.dumps(index, indent=2) + "\n").encode())
    probes = _default_probes(study) if study.probes is None else study.probes
    options = study.probe_options
    if study.continual:
        asked = {"tasks": [task.model_dump() for task in study.continual.tasks],
                 "items": study.continual.items}  # fmt: skip
        options = {"sequence_scores": asked} | options
    _drop_stale(out / "failed", (*labels, *probes))
    _drop_stale(out / "tables", probes)
    failed = list(_train_all(plans, labels, out))
    runs = [Run(out / "runs" / run) for run in labels if (out / "runs" / run).exists()]
    failed += _Measuring(probes, options, runs, labels, out).all()
    return Outcome(out, tuple(runs), tuple(failed))


def planned(file: str | Path, *, trust_remote_code: bool = False) -> list[Plan]:
    """Every run of a study, checked and not trained.

    Raises:
        BadInput: the file, or anything it names, can't be used.
    """
    return _planned(_read(Path(file)), str(file), trust_remote_code)[1]


def _planned(text: str, source: str, trust: bool) -> tuple[StudyConfig, list[Plan]]:
    study = parse(text, source)
    _check_shared(study, source, trust)
    return study, _plans(study, text, source, trust)


def _default_probes(study: StudyConfig) -> tuple[str, ...]:
    names = registry.names("probes")
    asked = {name for name in names if getattr(registry.load("probes", name), "ON_REQUEST", False)}
    if study.continual:
        asked -= {"sequence_scores", "continual", "continual_matrix"}
    return tuple(name for name in names if name not in asked)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError as error:
        raise BadInput(f"no study file {str(file)!r}; give the path of a TOML file") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise BadInput(f"{str(file)!r} is no text file; give the path of a TOML file") from error


def _check_shared(study: StudyConfig, source: str, trust: bool) -> None:
    """Open what all runs share, so that no [[runs]] entry is blamed for it."""
    for name, values in study.probe_options.items():
        try:
            measuring.configure(name, values)
        except BadInput as error:
            raise BadInput(f"{source}, [probe_options.{name}]: {error}") from error
    try:
        for task in study.tasks:
            load_task(task.name, task.model_extra or {})
        resident(study.base, device=study.device, dtype=study.dtype, trust_remote_code=trust)
    except BadInput as error:
        raise BadInput(f"{source}: {error}") from error


def _plans(study: StudyConfig, text: str, source: str, trust: bool) -> list[Plan]:
    plans: dict[str, Plan] = {}
    for index, entry in enumerate(study.runs):
        try:
            for configs in expand(study, entry):
                for planned in _chained(configs, trust):
                    plans.setdefault(planned.id, planned)
        except BadInput as error:
            line = entry_line(text, index)
            raise BadInput(f"{source}, [[runs]] at line {line}: {error}") from error
    return list(plans.values())


def _chained(configs: list[RunConfig], trust: bool) -> Iterator[Plan]:
    """The runs of one configuration and seed: each task alone, and each after the one before it."""
    before: Plan | None = None
    for config in configs:
        alone = plan(config, trust)
        yield alone
        if before is None:
            before = alone
        else:
            before = plan(config.model_copy(update={"after": before.id}), trust)
            yield before


def _train_all(plans: list[Plan], labels: dict[str, str], out: Path) -> Iterator[str]:
    before = state_of(plans[0].base.model)
    left = [planned for planned in plans if not (out / "runs" / planned.id).exists()]
    if len(left) < len(plans):
        say(f"{len(plans) - len(left)} of {len(plans)} runs are already there")
    for number, planned in enumerate(left, 1):
        what = f"{labels[planned.id]} seed={planned.config.seed}"
        failure = _attempt(
            what,
            out / "failed" / f"{planned.id}.json",
            lambda p=planned: training.carry_out(p, out / "runs"),
        )
        done = Run(out / "runs" / planned.id)
        say(f"[{number}/{len(left)}] {failure or f'{what}: {_in_words(done)}'}")
        if failure:
            yield failure
        if state_of(planned.base.model) != before:
            discard_resident()
            raise RuntimeError(
                f"{what} left the base model changed; this is a defect of {planned.config.method}"
            )


def _in_words(run: Run) -> str:
    results = run.record.results
    if run.record.status == "diverged":
        return "diverged"
    score = results.get("validation_accuracy")
    shown = f"loss {results['validation_loss']:.3f}" if score is None else f"accuracy {score:.3f}"
    return f"{shown} on validation, {run.timing()[-1]['seconds']:.0f} s of training"


def _attempt(what: str, record: Path, action: Callable[[], object]) -> str | None:
    """Do it; if it raises, keep the error and its traceback on disk and say so in one line."""
    try:
        action()
    except OSError:
        raise  # the disk: nothing that follows would fare better
    except Exception as error:  # noqa: BLE001  # one failure must not cost the other runs
        told = f"{what}: failed: {' '.join(str(error).split()) or type(error).__name__}"
        record.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(traceback.format_exception(error))
        about = {"what": what, "error": f"{type(error).__name__}: {error}", "traceback": lines}
        write_atomic(record, (json.dumps(about, indent=2) + "\n").encode())
        return told
    record.unlink(missing_ok=True)
    return None


def _drop_stale(folder: Path, names: Collection[str]) -> None:
    """Delete what an earlier version of the study file left, so that no report shows it."""
    for file in folder.glob("*"):
        if file.stem not in names:
            file.unlink()


@dataclass(frozen=True)
class _Measuring:
    """Every probe on every run of a study; what fails is recorded, and costs one table."""

    probes: Sequence[str]
    options: measuring.Options
    runs: list[Run]
    labels: dict[str, str]
    out: Path

    def all(self) -> Iterator[str]:
        """Measure and write the tables; yields a line for each that failed."""
        if not self.runs:
            return
        (self.out / "tables").mkdir(exist_ok=True)
        self._runs()
        for name in self.probes:
            file = self.out / "tables" / f"{name}.parquet"
            failure = self._attempt(name, lambda n=name, f=file: self._table(n, f))
            if failure:
                file.unlink(missing_ok=True)  # it may hold fewer runs than there are now
                say(failure)
                yield failure

    def _runs(self) -> None:
        """Run after run, for the probes of one run share much of their work.

        What fails is tried no further; it fails again, and is told, where its table is made.
        """
        probes = {name: registry.load("probes", name) for name in self.probes}
        left = {name for name, probe in probes.items() if hasattr(probe, "measure")}
        for number, run in enumerate(self.runs, 1):
            what = f"{self.labels[run.id]} seed={run.config.seed}"
            say(f"[{number}/{len(self.runs)}] Measuring {what}")
            for name in sorted(left):
                if self._attempt(
                    name, lambda r=run, n=name: measuring.run_probe(r, n, self.options)
                ):
                    left.remove(name)

    def _table(self, name: str, file: Path) -> None:
        table.write(measuring.collect(self.runs, name, self.labels, self.options), file)

    def _attempt(self, name: str, action: Callable[[], object]) -> str | None:
        return _attempt(f"probe {name}", self.out / "failed" / f"{name}.json", action)

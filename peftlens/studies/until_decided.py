"""Study that runs until its claims are decided: rates are raced, then confirmed on fresh seeds.

Both stages are ordinary studies, whose files are derived here and whose runs are trained, resumed
and measured as those of any study. The same call goes on where an earlier one was interrupted.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftlens import registry
from peftlens.errors import InputError
from peftlens.io.files import sha256_text, write_atomic, write_json
from peftlens.io.progress import say, say_wrapped
from peftlens.numerics.counts import counted
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sequential import (
    CONFIRMATION,
    RATES,
    RUNGS,
    SELECTION,
    SETTINGS,
    is_sequential,
    read_rows,
    undertrained,
)
from peftlens.results.study_index import INDEX, recorded_dtypes
from peftlens.studies.config import StudyConfig, parse
from peftlens.studies.confirmation import Confirmation, Ending
from peftlens.studies.decisions import Decisions, budget_seconds
from peftlens.studies.options import StudyOptions, StudyOutcome
from peftlens.studies.racing import Race
from peftlens.studies.runner import run_study
from peftlens.studies.stopwatch import Stopwatch
from peftlens.studies.study_file import read_text
from peftlens.studies.sweep_grid import SweepGrid, study_text, sweep_grids

SCORES = ("task_items", "task_accuracy", "parameter_count")  # what every report shows


@dataclass(frozen=True)
class SequentialOutcome:
    """Outcome of one call.

    Attributes:
        folder: folder of the whole study.
        ending: why it ended.
        failed: one line for each run or probe that failed.
    """

    folder: Path
    ending: Ending
    failed: tuple[str, ...]


def run_until_decided(
    file: str | Path,
    out: str | Path,
    options: StudyOptions | None = None,
    changes: dict[str, Any] | None = None,
    *,
    trust_remote_code: bool = False,
) -> SequentialOutcome:
    """Race the rates of a study's configurations, and confirm the best until claims are decided.

    Args:
        file: study file.
        out: folder of the whole study; see results/sequential.py.
        options: options of this call; all runs belong to it, so neither shard nor filter.
        changes: values that replace those of the file's table [decisions].
        trust_remote_code: whether to run Python from the base model's folder.

    Raises:
        InputError: the file, a name or a value can't be used, or the folder holds another study.
        OSError: the disk is full or may not be written to; finished runs stay as they are.
        Stopped: Ctrl-C or SIGTERM; finished runs and looks stay as they are.
    """
    options, out = options or StudyOptions(), Path(out)
    if options.shard or options.filter:
        raise InputError("--until-decided judges all runs together; leave --shard and --filter")
    study = parse(read_text(Path(file)), str(file), options.full_scale)
    study = study.model_copy(update={"decisions": _changed(study.decisions, changes or {})})
    sequence = _Stages(out, study, replace(options, full_scale=False), trust_remote_code)
    sequence.prepare()
    return sequence.run()


def _changed(decisions: Decisions, changes: dict[str, Any]) -> Decisions:
    for name in changes.get("claims", ()):
        registry.check("claims", name)
    return Decisions.model_validate(decisions.model_dump() | changes)


@dataclass
class _Stages:
    """Both stages of one study."""

    out: Path
    study: StudyConfig
    options: StudyOptions
    trust_remote_code: bool

    def __post_init__(self) -> None:
        self.decisions = self.study.decisions
        self.sweeps = sweep_grids(self.study)
        self.probes = _probes(self.study)
        self.claims = self.decisions.claims or _measurable_claims(self.study)
        self.first_seed = min(self.study.seeds)
        if not self.claims:
            raise InputError("the study measures no table that a claim needs; give --claims")
        several = [one.name for one in self.sweeps if len(one.rates) > 1]
        if not self.decisions.selection_seeds and several:
            raise InputError(
                f"selection_seeds=0, and {several[0]} has several learning rates; give "
                "selection_seeds=2, or one rate"
            )

    def prepare(self) -> None:
        """Create the folder, or check that it holds this study.

        Raises:
            InputError: it holds another study, or this one with other settings.
        """
        if (self.out / INDEX).exists():
            raise InputError(f"{self.out} holds an ordinary study; give another --out")
        settings = self.decisions.model_dump(mode="json", exclude={"budget"})
        text = study_text(self.study, self.sweeps, [self.first_seed], self.probes)
        settings |= {"claims": list(self.claims), "study": sha256_text(text)}
        if is_sequential(self.out):
            _require_equal(self.out / SETTINGS, settings)
        else:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / SETTINGS, settings)

    def run(self) -> SequentialOutcome:
        chosen, failed = self._race()
        if not any(one.has_rate for one in chosen) and any(one.has_rate for one in self.sweeps):
            raise InputError(f"all runs of the race failed; see {self.out / SELECTION / 'failed'}")
        budget = self.decisions.budget
        confirmation = Confirmation(
            out=self.out,
            claims=self.claims,
            decisions=self.decisions,
            train=lambda seeds: self._confirm(chosen, seeds),
            first_seed=self.first_seed,
            n_configurations=len(chosen),
            first_round_seconds=self._first_round_seconds(len(chosen)),
            budget=None if budget is None else budget_seconds(budget),
        )
        ending = confirmation.run()
        return SequentialOutcome(self.out, ending, (*failed, *confirmation.failed))

    def _race(self) -> tuple[list[SweepGrid], tuple[str, ...]]:
        """Choose a rate for each configuration that has one; return all, in their order."""
        raced = [one for one in self.sweeps if one.has_rate]
        if not raced or not self.decisions.selection_seeds:
            return self.sweeps, ()
        seeds = self.decisions.race_seeds(self.first_seed)
        if read_rows(self.out, RATES).empty:
            rates = sum(len(one.rates) for one in raced)
            say(
                f"Selection: {counted(rates, 'learning rate')} of "
                f"{counted(len(raced), 'configuration')} on {counted(len(seeds), 'seed')}"
            )

        def train(sweeps: Sequence[SweepGrid], options: StudyOptions) -> StudyOutcome:
            with Stopwatch(self.out).timing(SELECTION):
                return self._run(SELECTION, study_text(self.study, sweeps, seeds, ()), options)

        options = replace(self.options, show=None)
        race = Race(self.out, self.out / SELECTION / "runs", raced, options, train)
        best = {one.name: one for one in race.run()}
        for sentence in undertrained(read_rows(self.out, RATES)):
            say_wrapped(sentence)
        chosen = [best.get(one.name, one) for one in self.sweeps]
        return [one for one in chosen if not one.has_rate or one.name in best], race.failed

    def _confirm(self, chosen: Sequence[SweepGrid], seeds: Sequence[int]) -> StudyOutcome:
        # measured again on a busy machine, dtype="auto" could mean another one than in the race
        dtypes = [*recorded_dtypes(self.out / SELECTION).values()]
        is_auto = self.study.dtype == "auto" and dtypes
        study = self.study.model_copy(update={"dtype": dtypes[0]} if is_auto else {})
        text = study_text(study, chosen, seeds, self.probes)
        return self._run(CONFIRMATION, text, self.options)

    def _run(self, stage: str, text: str, options: StudyOptions) -> StudyOutcome:
        file = self.out / f"{stage}.toml"
        write_atomic(file, text.encode())
        trust = self.trust_remote_code
        return run_study(file, self.out / stage, options, trust_remote_code=trust)

    def _first_round_seconds(self, n_configurations: int) -> float | None:
        """Expect the first round to take as long per run as the race; None without a race."""
        rungs = read_rows(self.out, RUNGS)
        if rungs.empty:
            return None
        shares = rungs.groupby(["configuration", "learning_rate"])["share_of_steps"].max()
        runs = shares.sum() * self.decisions.selection_seeds
        per_run = Stopwatch(self.out).seconds(SELECTION) / runs
        return float(per_run * n_configurations * self.decisions.first_seeds)


def _require_equal(file: Path, settings: dict[str, Any]) -> None:
    try:
        recorded = json.loads(file.read_bytes())
        differing = [key for key in settings if recorded.get(key) != settings[key]]
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file} is damaged; give another --out") from error
    if differing:
        key = differing[0]
        was = "another study file" if key == "study" else f"{key}={recorded.get(key)!r}"
        raise InputError(
            f"{file.parent} was begun with {was}, and verdicts hold for what was fixed before; "
            "give the same again, or another --out"
        )


def _probes(study: StudyConfig) -> list[str] | None:
    """Return the probes that the asked claims need, with the file's; None for the default ones."""
    asked = study.decisions.claims
    if study.probes is None and not asked:
        return None
    names = {need for claim in asked for need in registry.load("claims", claim).NEEDS}
    names |= {*(SCORES if study.probes is None else study.probes)}
    rest = [*names - {CONFIGURATIONS}]
    while rest:
        inputs = registry.describe("probes", rest.pop()).constants.get("INPUTS") or ()
        rest += {*inputs} - names
        names |= {*inputs}
    return [name for name in registry.names("probes") if name in names]


def _measurable_claims(study: StudyConfig) -> tuple[str, ...]:
    """Return the claims whose tables the study has."""
    measured: Callable[[str], bool] = (study.probes or ()).__contains__
    if study.probes is None:
        measured = _is_default
    claims = {name: registry.load("claims", name).NEEDS for name in registry.names("claims")}
    return tuple(
        name
        for name, needs in claims.items()
        if all(need == CONFIGURATIONS or measured(need) for need in needs)
    )


def _is_default(probe: str) -> bool:
    return not registry.describe("probes", probe).constants.get("OPTIONAL", False)

"""Race of learning rates: successive halving on selection seeds, in a grid that grows at its edges.

All rates of a configuration are trained for a quarter of the steps, the better half for a half, and
the best two to the end; runs are paused and resumed, so no step is taken twice. The score is that
by which reports choose a rate: the mean accuracy on validation examples, or where there is none,
or at equal accuracy, the loss. The seeds of the race are used for nothing else, so the scores of
the chosen rates on other seeds have no selection bias.

Sources: Jamieson & Talwalkar 2016, arXiv:1502.07943; Li et al. 2018, arXiv:1603.06560.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from peftlens.errors import InputError
from peftlens.io.progress import say, say_wrapped
from peftlens.numerics.counts import counted
from peftlens.results import failures
from peftlens.results.sequential import PLATEAU, RATES, RUNGS, read_records, read_rows, write_rows
from peftlens.runs.lock import RunLockedError, lock_run
from peftlens.runs.paused import delete_paused, paused_run, paused_runs
from peftlens.runs.run import Run
from peftlens.studies.options import StudyOptions, StudyOutcome
from peftlens.studies.plan import PlannedRun
from peftlens.studies.rate_growth import is_at_edge, new_rates
from peftlens.studies.sweep_grid import SweepGrid

_NAMES = {0.25: "a quarter", 0.5: "half", 0.75: "three quarters", 1.0: "all"}
LAST = 0.75  # share of the steps before the last quarter, over which the loss is seen to fall
Rates = dict[str, tuple[float, ...]]  # rates by name of the sweep
# function that trains the sweeps' runs on the selection seeds, as far as the options say
Train = Callable[[Sequence[SweepGrid], StudyOptions], StudyOutcome]


@dataclass
class Race:
    """Race of the rates of several configurations.

    Attributes:
        out: folder of the whole study, for the table of the rungs.
        runs: folder of the runs of the race.
        sweeps: configurations with the rates of the study's file.
        options: options of this call.
        train: function that trains.
        failed: one line for each run that failed.
    """

    out: Path
    runs: Path
    sweeps: Sequence[SweepGrid]
    options: StudyOptions
    train: Train
    failed: tuple[str, ...] = ()
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    def run(self) -> list[SweepGrid]:
        """Race all rates; return the configurations with the best one, without those that failed.

        Rungs that an earlier call has scored are not scored again.
        """
        self._rows = read_records(self.out, RUNGS)
        alive: Rates = {one.name: one.rates for one in self.sweeps}
        for share, keep in ((0.25, _better_half), (0.5, _two), (LAST, len), (1.0, _one)):
            # a rung that can drop no rate is left out
            entered = {k: v for k, v in alive.items() if v and (share >= LAST or len(v) > 2)}
            alive |= self._rung(share, entered, keep)
        while more := self._beyond_edges():
            say_wrapped(f"Best rate at the edge of the grid, so tried, too: {_listed(more)}")
            self._rung(LAST, more, len)
            alive |= self._rung(1.0, more, _one)
        self._delete_pauses()
        self._write_rates()
        return [one.at(alive[one.name]) for one in self.sweeps if alive[one.name]]

    def _rung(self, share: float, entered: Rates, keep: Callable[[Sequence], int]) -> Rates:
        """Train the rates up to a share of the steps and score them; return those that go on."""
        new = {
            name: rates for name, rates in entered.items() if not self._known(name, share, rates)
        }
        if new:
            self._score(share, new)
        kept = {name: self._best(name, share, keep) for name in entered}
        for row in self._rows:
            if row["share_of_steps"] == share and row["configuration"] in kept:
                row["kept"] = row["learning_rate"] in kept[row["configuration"]]
        if new:
            write_rows(self.out, RUNGS, pd.DataFrame(self._rows))
            for name in new if share != LAST else ():  # where none is dropped
                _tell(name, share, self._rows_of(name, share))
        return kept

    def _known(self, name: str, share: float, rates: Sequence[float]) -> bool:
        rows = self._rows_of(name, share)
        return {*rates} <= {row["learning_rate"] for row in rows if row["n_seeds"]}

    def _rows_of(self, name: str, share: float) -> list[dict[str, Any]]:
        return [
            row
            for row in self._rows
            if row["configuration"] == name and row["share_of_steps"] == share
        ]

    def _score(self, share: float, rates: Rates) -> None:
        sweeps = [one.at(rates[one.name]) for one in self.sweeps if one.name in rates]
        runs = sum(len(one.rates) for one in sweeps)
        say(f"Racing {counted(runs, 'learning rate')}, to {_NAMES[share]} of the steps")

        def select(run: PlannedRun) -> bool:
            rate = run.config.training.learning_rate
            return any(rate in one.rates and one.has(run.config) for one in sweeps)

        pause_after = share if share < 1 else None
        options = replace(self.options, select=select, pause_after=pause_after)
        outcome = self.train(self._all_rates(rates), options)
        if any(select(run) and self._is_locked(run, share) for run in outcome.planned):
            raise InputError(
                f"other processes train runs of {self.runs}; wait for them, and run this again"
            )
        self.failed = outcome.failed
        for one in sweeps:
            for rate in one.rates:
                found = [
                    self._scores_of(run, share)
                    for run in outcome.planned
                    if run.config.training.learning_rate == rate and one.has(run.config)
                ]
                row = _row(one.name, rate, share, [s for s in found if s is not None])
                self._rows = [r for r in self._rows if not _is_same(r, row)] + [row]

    def _all_rates(self, rates: Rates) -> list[SweepGrid]:
        """Return all configurations with all rates so far: no run leaves the study of the race."""
        known: dict[str, list[float]] = {}
        for row in self._rows:
            known.setdefault(row["configuration"], []).append(row["learning_rate"])
        return [
            one.at((*one.rates, *known.get(one.name, ()), *rates.get(one.name, ())))
            for one in self.sweeps
        ]

    def _is_locked(self, run: PlannedRun, share: float) -> bool:
        """Whether a run is neither scored nor failed: another process is training it."""
        is_failed = run.id in failures.recorded(self.runs.parent)
        return not is_failed and self._scores_of(run, share) is None

    def _scores_of(self, run: PlannedRun, share: float) -> dict[str, float] | None:
        """Return the scores of a run on validation; empty if it diverged, None if it failed."""
        if (self.runs / run.id).exists():
            record = Run(self.runs / run.id).record
            return {} if record.status == "diverged" else record.results
        step = run.pause_step(share if share < 1 else None)
        paused = step and paused_run(self.runs, run.id, step)
        return paused.scores if paused and paused.path.exists() else None

    def _best(self, name: str, share: float, keep: Callable[[Sequence], int]) -> tuple[float, ...]:
        rows = [row for row in self._rows_of(name, share) if row["n_seeds"]]
        rows.sort(key=_order, reverse=True)
        return tuple(row["learning_rate"] for row in rows[: keep(rows)])

    def _beyond_edges(self) -> Rates:
        """Return the rates beyond the edges at which the best rates lie, as far as they may go."""
        found: Rates = {}
        for one in self.sweeps:
            rates = self._tried(one)
            more = [
                rate for best in self._best(one.name, 1.0, _one) for rate in new_rates(rates, best)
            ]
            if more:
                found[one.name] = tuple(more)
        return found

    def _tried(self, sweep: SweepGrid) -> list[float]:
        rows = [row for row in self._rows if row["configuration"] == sweep.name]
        return sorted({*sweep.rates, *(row["learning_rate"] for row in rows)})

    def _delete_pauses(self) -> None:
        """Delete the paused runs of rates that were dropped: with all weights they are large."""
        for run in {paused.id for paused in paused_runs(self.runs)}:
            with suppress(RunLockedError), lock_run(self.runs, run):
                delete_paused(self.runs, run)

    def _write_rates(self) -> None:
        rows = []
        for one in self.sweeps:
            for row in self._rows_of(one.name, 1.0):
                if row["kept"]:
                    rows.append(row | self._at_the_end(one, row))
        frame = pd.DataFrame(rows) if rows else read_rows(self.out, RATES)
        write_rows(self.out, RATES, frame)

    def _at_the_end(self, sweep: SweepGrid, row: dict[str, Any]) -> dict[str, Any]:
        rates, rate = self._tried(sweep), row["learning_rate"]
        before = [r for r in self._rows_of(sweep.name, LAST) if r["learning_rate"] == rate]
        earlier = before[0]["validation_loss"] if before else math.nan
        # runs that can't be paused have one score, which stands at each rung
        is_known = earlier > 0 and earlier != row["validation_loss"]
        decrease = (earlier - row["validation_loss"]) / earlier if is_known else math.nan
        return {
            "n_learning_rates": len(rates),
            "lowest": rates[0],
            "highest": rates[-1],
            "at_edge": is_at_edge(rates, rate),
            "loss_decrease": decrease,
            "still_falling": bool(decrease >= PLATEAU),
        }


def _better_half(rows: Sequence) -> int:
    return max(2, math.ceil(len(rows) / 2))


def _two(_: Sequence) -> int:
    return 2


def _one(_: Sequence) -> int:
    return 1


def _row(name: str, rate: float, share: float, scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average the scores of one rate over its seeds; a run that diverged is as bad as can be."""
    has_accuracy = any("validation_accuracy" in one for one in scores)
    accuracies = [one.get("validation_accuracy", 0.0) for one in scores]
    losses = [one.get("validation_loss", math.inf) for one in scores]
    return {
        "configuration": name,
        "learning_rate": rate,
        "share_of_steps": share,
        "n_seeds": len(scores),
        "validation_accuracy": float(np.mean(accuracies)) if has_accuracy else math.nan,
        "validation_loss": float(np.mean(losses)) if scores else math.nan,
        "kept": False,
    }


def _is_same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(row[k] == other[k] for k in ("configuration", "learning_rate", "share_of_steps"))


def _order(row: dict[str, Any]) -> tuple[float, float]:
    accuracy = row["validation_accuracy"]
    return (0.0 if math.isnan(accuracy) else accuracy, -row["validation_loss"])


def _listed(rates: Rates) -> str:
    return "; ".join(
        f"{name} {', '.join(f'{r:g}' for r in found)}" for name, found in rates.items()
    )


def _tell(name: str, share: float, rows: Sequence[dict[str, Any]]) -> None:
    rates = sorted(row["learning_rate"] for row in rows)
    kept = ", ".join(f"{r['learning_rate']:g}" for r in sorted(rows, key=_order) if r["kept"])
    verb = "is the best" if share == 1 else "go on"
    all_of_them = ", ".join(f"{rate:g}" for rate in rates)
    say_wrapped(f"  {name}: {kept or 'none'} {verb} of {all_of_them}")

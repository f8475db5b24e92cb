"""Confirmation: rounds of fresh seeds, after each of which the open claims are judged.

Look k uses the seeds of all rounds so far, at its part of the level (numerics/alpha_spending.py).
What a look found is written before the next round begins, and stays: a claim that is decided is not
judged again, nor is a look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from peftlens.claims import judge
from peftlens.errors import InputError
from peftlens.io.progress import say, say_wrapped
from peftlens.numerics.alpha_spending import look_levels
from peftlens.numerics.counts import counted, duration
from peftlens.results import study_results
from peftlens.results.sequential import (
    CONFIRMATION,
    DECIDED,
    LOOKS,
    last_verdicts,
    read_records,
    write_rows,
)
from peftlens.studies.decisions import Decisions
from peftlens.studies.options import StudyOutcome
from peftlens.studies.stopwatch import Stopwatch

Ending = Literal["decided", "not measurable", "looks", "budget"]
FEWEST = 3  # seeds; some claims are not measured with fewer


@dataclass
class Confirmation:
    """Rounds of a confirmation.

    Attributes:
        out: folder of the whole study.
        claims: names of the asked claims.
        decisions: settings of the decisions.
        train: function that trains and measures all configurations on these seeds.
        first_seed: first of the seeds.
        n_configurations: number of configurations.
        first_round_seconds: expected time of the first round; None if nothing is known about it.
        budget: time of the whole study, s; None for no limit.
        failed: one line for each run or probe that failed.
    """

    out: Path
    claims: Sequence[str]
    decisions: Decisions
    train: Callable[[Sequence[int]], StudyOutcome]
    first_seed: int
    n_configurations: int
    first_round_seconds: float | None = None
    budget: float | None = None
    failed: tuple[str, ...] = ()
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    def run(self) -> Ending:
        """Train and judge until there is an end; return which one."""
        self._rows = read_records(self.out, LOOKS)
        while not (ending := self._ending()):
            self._look(self._last_look + 1)
        return ending

    @property
    def _last_look(self) -> int:
        return max((row["look"] for row in self._rows), default=0)

    @property
    def _open(self) -> list[str]:
        """Names of the claims that no look has decided, in the order in which they were asked."""
        decided = {row["claim"] for row in self._rows if row["outcome"] in DECIDED}
        return [name for name in self.claims if name not in decided]

    def _ending(self) -> Ending | None:
        if not self._open:
            return "decided"
        if self._last_look and self.decisions.n_seeds(self._last_look) >= FEWEST:
            last = {row["claim"]: row["outcome"] for row in self._rows}
            if all(last[name] == "not measured" for name in self._open):
                return "not measurable"
        if self._last_look == self.decisions.looks:
            return "looks"
        return "budget" if self._overruns() else None

    def _overruns(self) -> bool:
        """Whether the next round would overrun the budget; say so, and how long it takes."""
        if self.budget is None:
            return False
        left, seconds = self._left(), self._round_seconds()
        if left > 0 and (seconds or 0) <= left:
            return False
        need = f"; the next round takes about {duration(seconds)}" if seconds else ""
        say_wrapped(f"Budget: {self._left_in_words()}{need}")
        return True

    def _left(self) -> float:
        """Return the time that is left of the budget, s."""
        return max((self.budget or 0) - Stopwatch(self.out).seconds(), 0.0)

    def _left_in_words(self) -> str:
        return f"{duration(self._left())} of {duration(self.budget or 0)} left"

    def _round_seconds(self) -> float | None:
        """Return the expected time of the next round, by the runs of the rounds before it."""
        if not self._last_look:
            return self.first_round_seconds
        per_seed = Stopwatch(self.out).seconds(CONFIRMATION) / self.decisions.n_seeds(
            self._last_look
        )
        return per_seed * self.decisions.seeds_per_look

    def _look(self, look: int) -> None:
        seeds = self.decisions.confirmation_seeds(look, self.first_seed)
        level = look_levels(self.decisions.alpha / 2, self.decisions.looks)[look - 1]
        self._announce(look, level, len(seeds))
        with Stopwatch(self.out).timing(CONFIRMATION):
            outcome = self.train(seeds)
        self.failed = outcome.failed
        if outcome.left:
            raise InputError(
                f"other processes train {counted(outcome.left, 'run')} of {self.out}; wait for "
                "them, and run this again"
            )
        tables = study_results.read(self.out / CONFIRMATION).tables
        verdicts = judge({name: one.frame for name, one in tables.items()}, level, self._open)
        hours = Stopwatch(self.out).seconds(CONFIRMATION) / 3600
        self._rows += [
            {
                "look": look,
                "level": level,
                "n_seeds": len(seeds),
                "seeds": f"{seeds[0]} to {seeds[-1]}",
                "claim": one.claim,
                "outcome": one.outcome,
                "sentence": one.sentence,
                "n_runs": len(outcome.runs),
                "hours": round(hours, 4),
            }
            for one in verdicts
        ]
        write_rows(self.out, LOOKS, pd.DataFrame(self._rows))
        for one in verdicts:
            say_wrapped(f"  {one.claim}: {one.outcome}")

    def _announce(self, look: int, level: float, n_seeds: int) -> None:
        those = counted(self.n_configurations, "configuration")
        say(
            f"Look {look} of {self.decisions.looks}: {those} on {n_seeds} seeds, "
            f"one-sided level {level:.4f}"
        )
        say_wrapped(f"  to decide: {', '.join(self._open)}")
        seconds = self._round_seconds()
        times = [f"about {duration(seconds)} for this round"] if seconds else []
        times += [] if self.budget is None else [self._left_in_words()]
        if times:
            say(f"  {', '.join(times)}")


def remedies(ending: Ending, rows: pd.DataFrame) -> dict[str, str]:
    """Say of each claim that was measured and is not decided what would decide it.

    Args:
        ending: why the rounds ended.
        rows: table of the looks.
    """
    found = {}
    for row in last_verdicts(rows).to_dict("records"):
        if row["outcome"] != "insufficient evidence":
            continue  # decided, or its sentence says what would measure it
        if ending == "budget":
            found[row["claim"]] = "a larger --budget: the same command goes on with fresh seeds"
        else:
            found[row["claim"]] = (
                f"more seeds than {row['n_seeds']}, in a new --out with larger first_seeds and "
                "seeds_per_look in [decisions], or more test items"
            )
    return found

"""Plan of a study that decides claims: seeds, examples, runs and time, by a pilot's noise."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from peftlens.claims import ONE_SIDED, Verdict, judge
from peftlens.results.comparisons import Comparison, Requirement, widest
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sequential import frames_to_judge
from peftlens.results.study_results import StudyResults
from peftlens.results.sweep import sweep_names
from peftlens.runs.trained_model import TrainedModel

COLUMNS = (
    "claim",
    "outcome",
    "comparison",
    "estimate",
    "ci_low",
    "ci_high",
    "unit",
    "n_seeds",
    "n_items",
    "seeds_needed",
    "items_needed",
    "items_at_seeds",
    "more_runs",
    "more_seconds",
)


def claim_plan(
    results: StudyResults,
    names: Iterable[str] | None = None,
    looks: int = 1,
    alpha: float = ONE_SIDED,
) -> pd.DataFrame:
    """Plan for each claim the study that decides it with power 0.8.

    Columns: claim; outcome: verdict on the pilot; comparison: the one that needs the largest study,
    with its estimate, ci_low, ci_high and unit; n_seeds, n_items: sizes of the pilot; seeds_needed:
    number of seeds with as many items; items_needed: number of items with items_at_seeds, which is
    another way; more_runs, more_seconds: further runs for seeds_needed, or for items_at_seeds where
    no number of seeds suffices, at the rates of the pilot, and their training time.
    A value is missing where the claim is supported, or where the pilot does not tell.

    Args:
        results: the pilot.
        names: names of the claims; all by default.
        looks: number of times that the claims are judged as the study grows.
        alpha: one-sided level of each claim.

    Raises:
        InputError: there is no such claim.
    """
    pilot = _Pilot(results)
    tables = frames_to_judge(results.folder, results.tables)
    rows = [_row(verdict, pilot, looks, alpha) for verdict in judge(tables, alpha, names)]
    return pd.DataFrame(rows, columns=COLUMNS).convert_dtypes()


def _row(verdict: Verdict, pilot: "_Pilot", looks: int, alpha: float) -> dict[str, object]:
    row: dict[str, object] = {"claim": verdict.claim, "outcome": verdict.outcome}
    found = widest(verdict.outcome, verdict.comparisons, alpha, looks)
    if found is None:
        return row
    one, size = found
    row |= {
        "comparison": one.what,
        "estimate": one.estimate.value,
        "ci_low": one.estimate.low,
        "ci_high": one.estimate.high,
        "unit": one.unit,
        "n_seeds": one.n_seeds,
        "n_items": one.n_items,
        "seeds_needed": size.seeds,
        "items_needed": size.items,
        "items_at_seeds": None if size.items is None else size.items_at,
    }
    names = {name for other in verdict.comparisons for name in other.configurations}
    return row | pilot.further(one, size, names)


@dataclass(frozen=True)
class _Pilot:
    """Runs of a study, and the time that they took."""

    results: StudyResults

    @cached_property
    def sweeps(self) -> dict[str, str]:
        """Name of each run's configuration without its learning rate, by the run's id."""
        labels = self.results.configurations
        if CONFIGURATIONS not in self.results.tables:
            return dict(labels)
        names = sweep_names({CONFIGURATIONS: self.results.tables[CONFIGURATIONS].frame})
        return {run: str(names.get(label, label)) for run, label in labels.items()}

    def further(self, one: Comparison, size: Requirement, names: set[str]) -> dict[str, object]:
        """Count the runs of the named configurations, or of all, that a planned study adds."""
        runs = [run for run in self.results.runs if self.sweeps.get(run.id) in names]
        runs = runs or [*self.results.runs]
        if size.least_seeds is None or not runs:
            return {}
        missing = max(size.least_seeds - one.n_seeds, 0)
        per_seed = len(runs) / len({run.config.seed for run in runs})
        more = math.ceil(missing * {"run": 1, "pair": 2}.get(one.noun, per_seed))
        seconds = [time for run in runs if (time := _seconds(run)) is not None]
        mean = sum(seconds) / len(seconds) if seconds else None
        return {"more_runs": more, "more_seconds": None if mean is None else more * mean}


def _seconds(run: TrainedModel) -> float | None:
    """Return the training time of a run, if it is recorded."""
    lines = run.timing()
    return float(lines[-1]["seconds"]) if lines else None

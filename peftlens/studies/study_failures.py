"""Failures of a study's runs and probes, recorded in its folder as soon as they occur."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from peftlens.results import failures
from peftlens.results.outcomes import Problem
from peftlens.studies.plan import PlannedRun


@dataclass
class StudyFailures:
    """Failures that one call has found, or that an earlier one left.

    Attributes:
        out: folder of the study.
        runs: all runs of the study in its order, by id.
        summaries: one line for each failure, by run id or probe.
        unmeasured: reasons of the runs on which probes failed, by probe and run id.
    """

    out: Path
    runs: Mapping[str, PlannedRun]
    summaries: dict[str, str] = field(default_factory=dict)
    unmeasured: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._positions = {run: position for position, run in enumerate(self.runs)}
        self._first: dict[str, tuple[str, Problem]] = {}  # run and failure, by probe

    def load(self, retried: Collection[str]) -> None:
        """Read the failures of earlier calls; delete the records of all that is tried again.

        Args:
            retried: ids of the runs that are tried again; probes always are.
        """
        failures.forget(self.out, keep=self.runs.keys() - retried)
        before = failures.recorded(self.out)
        self.summaries = {
            run: f"{before[run]} (before; not tried again)" for run in self.runs if run in before
        }

    def record(self, key: str, description: str, problem: Problem) -> str:
        """Record the failure of a run or a probe; return it as one line.

        Args:
            key: id of the run or name of the probe.
            description: name of the run or probe for people.
            problem: outcome of the failed job.
        """
        self.summaries[key] = failures.record(self.out, key, description, problem)
        return self.summaries[key]

    def record_probe(self, run: str, probe: str, problem: Problem) -> str:
        """Record that a probe failed on a run; its record is that of the first run in the study."""
        reasons = self.unmeasured.setdefault(probe, {})
        reasons[run] = problem.error_summary
        before = self._first.get(probe, (run, problem))
        first, problem = min(before, (run, problem), key=lambda one: self._positions[one[0]])
        self._first[probe] = first, problem
        others = len(reasons) - 1
        more = f" and {others} other run{'s' * (others > 1)}" if others else ""
        return self.record(probe, f"probe {probe} on {self.runs[first].name}{more}", problem)

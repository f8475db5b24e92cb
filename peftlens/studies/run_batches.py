"""The runs of a study as jobs: each trained alone, or several in one pass over the base."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftlens.io.progress import say
from peftlens.results.outcomes import error_summary
from peftlens.studies.run_selection import Planned, group_runs, run_name
from peftlens.studies.scheduler import Job, JobResult

TOGETHER = 8  # runs in one pass on a GPU; memory for their activations grows with them


@dataclass
class RunBatches:
    """Jobs that train the runs of one study.

    Attributes:
        folder: where runs are written.
        trust: whether a base may bring code of its own.
        devices: GPUs; each has a pass of its own while there are enough runs.
        most: runs in one pass; by default several on a GPU, and on a CPU, where that does not pay,
            one.
    """

    folder: Path
    trust: bool
    devices: int
    most: int | None = None
    _groups: dict[str, Sequence[Planned]] = field(
        default_factory=dict, init=False
    )  # by the first one's id

    def jobs(self, runs: Sequence[Planned]) -> Iterator[Job]:
        """A job for each run, or for several that are trained in one pass."""
        most = self.most or (TOGETHER if self.devices else 1)
        groups = group_runs(runs, most, max(1, self.devices))
        if grouped := [group for group in groups if len(group) > 1]:
            say(
                f"{sum(map(len, grouped))} runs are trained in {len(grouped)} groups, each in one "
                "pass over the base; --runs-per-pass 1 trains each alone"
            )
        for group in groups:
            yield self._alone(group[0]) if len(group) == 1 else self._pass(group)

    def each(self, ended: JobResult, jobs: deque[Job]) -> Iterator[JobResult]:
        """What became of each run of a job; those of a pass that failed join the jobs, alone."""
        do, first = ended.job.key
        if do == "train":
            yield ended
            return
        if "done" not in ended.outcome:
            say(f"{ended.job.what}: {error_summary(ended.outcome)}; now each alone")
        found = ended.outcome.get("done", {})
        for run in self._groups[first]:
            if run["id"] in found:
                yield JobResult(self._alone(run), {"done": found[run["id"]]})
            else:
                jobs.append(self._alone(run))

    def _alone(self, run: Planned) -> Job:
        needs = ("train", run["after"]) if run["after"] else None
        given = {"config": run["config"], "run": run["id"]}
        return self._job("train", run["id"], run_name(run), given, needs)

    def _pass(self, group: Sequence[Planned]) -> Job:
        first = group[0]
        self._groups[first["id"]] = group
        given = {"configs": {run["id"]: run["config"] for run in group}}
        what = f"{run_name(first)} and {len(group) - 1} more"
        return self._job("train_together", first["id"], what, given)

    def _job(
        self,
        do: str,
        run: str,
        what: str,
        given: dict[str, Any],
        needs: tuple[str, str] | None = None,
    ) -> Job:
        given |= {"runs": str(self.folder), "trust": self.trust}
        return Job.known((do, run), what, given, needs)

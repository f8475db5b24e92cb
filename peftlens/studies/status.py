"""How far a study is, told by its folder while others work on it."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from peftlens.results import failures
from peftlens.results.study_results import read_index
from peftlens.runs import store
from peftlens.runs.run import CorruptedRunError, Run


@dataclass(frozen=True)
class ActiveRun:
    """A run that a process is building.

    Attributes:
        run: its id.
        what: configuration and seed.
        host: the machine.
        pid: the process there.
        seconds: since it began.
    """

    run: str
    what: str
    host: str
    pid: int
    seconds: float


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Attributes:
        done: finished runs.
        running: at this moment.
        failed: ids of runs and names of probes, with the error in a line.
        damaged: finished runs whose files have changed since, with the reason.
        left: runs that are neither finished nor running nor failed.
        seconds_left: of training, with as many runs at a time as now; None before any is finished.
    """

    done: int
    running: tuple[ActiveRun, ...]
    failed: dict[str, str]
    damaged: dict[str, str]
    left: int
    seconds_left: float | None


def study_status(out: Path) -> StudyStatus:
    """Read a study's folder; no lock is taken, and nothing is changed.

    Raises:
        InputError: there is no study, or a later version wrote it.
    """
    index = read_index(out)
    names, runs = index["names"], out / "runs"
    done, damaged = store.finished(runs, names)
    failed = failures.recorded(out)
    running = tuple(
        ActiveRun(run, names[run], holder.host, holder.pid, time.time() - holder.since)
        for run, holder in store.lock_owners(runs).items()
        if run in names and run not in done
    )
    known = {*done, *failed, *(one.run for one in running)}
    left = [run for run in names if run not in known]
    took = _seconds([Run(runs / run) for run in done], index["configurations"])
    ahead = [index["configurations"][run] for run in (*left, *(one.run for one in running))]
    spent = sum(one.seconds for one in running)
    return StudyStatus(
        done=len(done),
        running=running,
        failed=failed,
        damaged=damaged,
        left=len(left),
        seconds_left=_estimate(took, ahead, spent) / max(1, len(running)) if took else None,
    )


def _seconds(runs: Iterable[Run], configurations: dict[str, str]) -> dict[str, float]:
    """Median seconds of training a run, by configuration."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        try:
            found[configurations[run.path.name]].append(run.timing()[-1]["seconds"])
        except (CorruptedRunError, LookupError, ValueError):
            continue  # an estimate can do without it
    return {configuration: median(seconds) for configuration, seconds in found.items()}


def _estimate(took: dict[str, float], ahead: list[str], spent: float) -> float:
    """A configuration that has not been trained yet takes as long as the others do."""
    other = median(took.values())
    return max(0.0, sum(took.get(configuration, other) for configuration in ahead) - spent)

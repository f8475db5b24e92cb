"""Which runs of a study one supervisor takes, and which of them are trained in one pass."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from peftlens.errors import InputError
from peftlens.studies.plan import PlannedRun


def select_runs(
    runs: Sequence[PlannedRun], shard: tuple[int, int] | None, patterns: Sequence[str]
) -> list[PlannedRun]:
    """The runs of a shard that fit, with those that they are trained on after, in the same order.

    Args:
        runs: of the whole study.
        shard: (i, n): the i-th of n parts, counted from 1. Sequences of tasks stay in one piece.
        patterns: patterns for a run's id, configuration or name; all fit where there are none.

    Raises:
        InputError: no run of the study fits.
    """
    by_id = {run.id: run for run in runs}
    if patterns and not any(_matches(run, patterns) for run in runs):
        configurations = ", ".join(dict.fromkeys(run.configuration for run in runs))
        raise InputError(f"--filter {' '.join(patterns)}: no run fits; there are {configurations}")
    part, parts = shard or (1, 1)
    places: dict[str, int] = {}  # of the first runs of sequences
    selected: set[str] = set()
    for run in runs:
        chain = [run.id]
        while previous := by_id[chain[-1]].continue_from:
            chain.append(previous)
        place = places.setdefault(chain[-1], len(places))
        if place % parts == part - 1 and _matches(run, patterns):
            selected.update(chain)
    return [run for run in runs if run.id in selected]


def group_runs(
    runs: Sequence[PlannedRun], runs_per_pass: int, devices: int
) -> list[list[PlannedRun]]:
    """Put runs into groups that can be trained in one pass, in the order of the first of each.

    Args:
        runs: those that are to be trained.
        runs_per_pass: most runs in a group.
        devices: there is a group for each as long as there are enough runs.
    """
    if runs_per_pass == 1:
        return [[run] for run in runs]
    previous = {run.continue_from for run in runs}  # others wait for these
    batchable: dict[str, list[PlannedRun]] = {}
    for run in runs:
        key = None if run.id in previous else run.batch_key
        batchable.setdefault(key or run.id, []).append(run)
    groups = []
    for members in batchable.values():
        size = max(1, min(runs_per_pass, -(-len(members) // devices)))
        groups += [members[start : start + size] for start in range(0, len(members), size)]
    return groups


def _matches(run: PlannedRun, patterns: Sequence[str]) -> bool:
    names = (run.id, run.configuration, run.name)
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)

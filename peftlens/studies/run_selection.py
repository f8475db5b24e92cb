"""Selection of a study's runs by shard and filter, and their grouping into batches."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from peftlens.errors import InputError, suggestion
from peftlens.studies.plan import PlannedRun


def select_runs(
    runs: Sequence[PlannedRun], shard: tuple[int, int] | None, patterns: Sequence[str]
) -> list[PlannedRun]:
    """Select the matching runs of a shard, and the runs that they continue from, in order.

    Args:
        runs: all runs of the study.
        shard: (i, n) for the i-th of n parts, counted from 1; a sequence of tasks is never split.
        patterns: patterns for a run's id, configuration or name; without any, all runs match.

    Raises:
        InputError: no run of the study matches.
    """
    by_id = {run.id: run for run in runs}
    if patterns and not any(_matches(run, patterns) for run in runs):
        configurations = dict.fromkeys(run.configuration for run in runs)
        remedy = suggestion(patterns[0], configurations, "there are")
        raise InputError(f"--filter {' '.join(patterns)}: no run fits; {remedy}")
    part, parts = shard or (1, 1)
    places: dict[str, int] = {}  # index of each sequence, by id of its first run
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
    """Group runs for training in one pass, in the order of the groups' first runs.

    Args:
        runs: runs to train.
        runs_per_pass: highest number of runs per group.
        devices: number of devices; runs are split so that each device gets at least one group.
    """
    if runs_per_pass == 1:
        return [[run] for run in runs]
    previous = {run.continue_from for run in runs}  # other runs wait for these
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

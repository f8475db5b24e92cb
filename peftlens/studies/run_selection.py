"""Which runs of a study one supervisor takes, and which of them are trained in one pass."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from peftlens.errors import InputError

Planned = Mapping[str, Any]  # a run, as grid.inventory describes it


def run_name(run: Planned) -> str:
    """Configuration and seed, for people."""
    return f"{run['configuration']} seed={run['seed']}"


def select_runs(
    runs: Sequence[Planned], shard: tuple[int, int] | None, only: Sequence[str]
) -> list[Planned]:
    """The runs of a shard that fit, with those that they are trained on after, in the same order.

    Args:
        runs: of the whole study.
        shard: (i, n): the i-th of n parts, counted from 1. Sequences of tasks stay in one piece.
        only: patterns for a run's id, configuration or name; all fit where there are none.

    Raises:
        InputError: no run of the study fits.
    """
    by_id = {run["id"]: run for run in runs}
    if only and not any(_fits(run, only) for run in runs):
        known = ", ".join(dict.fromkeys(run["configuration"] for run in runs))
        raise InputError(f"--filter {' '.join(only)}: no run fits; there are {known}")
    part, parts = shard or (1, 1)
    places: dict[str, int] = {}  # of the first runs of sequences
    found: set[str] = set()
    for run in runs:
        chain = [run["id"]]
        while before := by_id[chain[-1]]["after"]:
            chain.append(before)
        place = places.setdefault(chain[-1], len(places))
        if place % parts == part - 1 and _fits(run, only):
            found.update(chain)
    return [run for run in runs if run["id"] in found]


def group_runs(runs: Sequence[Planned], most: int, devices: int) -> list[list[Planned]]:
    """Put runs into groups that can be trained in one pass, in the order of the first of each.

    Args:
        runs: those that are to be trained.
        most: runs in a group.
        devices: there is a group for each as long as there are enough runs.
    """
    if most == 1:
        return [[run] for run in runs]
    before = {run["after"] for run in runs}  # others wait for these
    alike: dict[str, list[Planned]] = {}
    for run in runs:
        key = None if run["id"] in before else run["together"]
        alike.setdefault(key or run["id"], []).append(run)
    groups = []
    for members in alike.values():
        size = max(1, min(most, -(-len(members) // devices)))
        groups += [members[at : at + size] for at in range(0, len(members), size)]
    return groups


def _fits(run: Planned, only: Sequence[str]) -> bool:
    names = (run["id"], run["configuration"], run_name(run))
    return not only or any(fnmatchcase(one, pattern) for pattern in only for one in names)

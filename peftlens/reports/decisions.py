"""How the verdicts of a study that ran until its claims were decided were reached.

Rates raced, looks with their levels, and the time beside that of the fixed design of the same size:
every rate of the grid on as many seeds.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from peftlens.claims import Verdict
from peftlens.numerics.counts import counted, duration
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.display_names import with_names
from peftlens.results.sequential import (
    DECIDED,
    LOOKS,
    RATES,
    RUNGS,
    SETTINGS,
    is_sequential,
    last_verdicts,
    read_records,
    read_rows,
    undertrained,
)
from peftlens.results.study_results import StudyResults


@dataclass(frozen=True)
class DecisionsSection:
    """Section of the report on how the verdicts were reached.

    Attributes:
        sentences: course of the study, in plain English.
        rates_header: names of the columns of `rates`.
        rates: chosen rate of each configuration, as text.
        looks_header: names of the columns of `looks`.
        looks: look, level, seeds and outcome of each claim, as text.
    """

    sentences: tuple[str, ...]
    rates_header: tuple[str, ...]
    rates: tuple[tuple[str, ...], ...]
    looks_header: tuple[str, ...]
    looks: tuple[tuple[str, ...], ...]


def decisions_section(results: StudyResults) -> DecisionsSection | None:
    """Build the section; None for an ordinary study, and before the first look."""
    folder = results.folder.parent
    if not is_sequential(folder) or (looks := read_rows(folder, LOOKS)).empty:
        return None
    rates = read_rows(folder, RATES)
    return DecisionsSection(
        sentences=(
            _course(folder, looks),
            *_race(folder, rates),
            _saving(folder, looks),
            *undertrained(rates),
        ),
        rates_header=("configuration", "best rate", "rates tried", "at the edge", "still falling"),
        rates=tuple(map(_rate_row, read_records(folder, RATES))),
        looks_header=("look", "one-sided level", "seeds", "runs", "claim", "outcome"),
        looks=tuple(map(_look_row, read_records(folder, LOOKS))),
    )


def reached(verdicts: Iterable[Verdict], results: StudyResults) -> list[Verdict]:
    """Replace the verdicts on asked claims by those of the looks, at the looks' levels."""
    folder = results.folder.parent
    if not is_sequential(folder):
        return list(verdicts)
    last = {row["claim"]: row for row in read_records(folder, LOOKS)}
    keys = _keys(results)
    return [
        replace(
            one,
            outcome=row["outcome"],
            sentence=f"{with_names(row['sentence'], keys)} {_seen(row)}".strip(),
        )
        if (row := last.get(one.claim))
        else one
        for one in verdicts
    ]


def _keys(results: StudyResults) -> set[str]:
    if CONFIGURATIONS not in results.tables:
        return set()
    frame = results.tables[CONFIGURATIONS].frame
    columns = frame.columns.intersection(["configuration", "sweep"])
    return {str(key) for name in columns for key in frame[name].dropna()}


def _seen(row: dict[str, Any]) -> str:
    if row["outcome"] == "not measured":
        return ""
    verb = "Decided" if row["outcome"] in DECIDED else "Not decided"
    return f"{verb} at look {row['look']}, at the one-sided level {row['level']:.4f}."


def _course(folder: Path, looks: pd.DataFrame) -> str:
    settings = json.loads((folder / SETTINGS).read_bytes())
    last = last_verdicts(looks)
    n_decided = int(last["outcome"].isin(DECIDED).sum())
    return (
        f"{n_decided} of {counted(len(last), 'claim')} were decided in "
        f"{counted(int(looks['look'].max()), 'look')} of at most {settings['looks']}. The levels "
        f"of all looks add up to {settings['alpha'] / 2:g} on one side (Bonferroni), whatever "
        "stopped them. Claims that were not asked are judged at the usual level."
    )


def _race(folder: Path, rates: pd.DataFrame) -> list[str]:
    if rates.empty:
        return ["No learning rates were raced."]
    rungs = read_rows(folder, RUNGS)
    tried = len(rungs[["configuration", "learning_rate"]].drop_duplicates())
    return [
        f"{counted(tried, 'learning rate')} of {counted(len(rates), 'configuration')} were raced "
        f"on {counted(int(rungs['n_seeds'].max()), 'seed')} of their own, by successive halving "
        "over the steps; all scores are of other seeds."
    ]


def _saving(folder: Path, looks: pd.DataFrame) -> str:
    """Compare with the design that trains every rate on all seeds of the last look."""
    last = looks.iloc[-1]
    n_seeds, n_runs = int(last["n_seeds"]), int(last["n_runs"])
    rates, rungs = read_rows(folder, RATES), read_rows(folder, RUNGS)
    shares = rungs.groupby(["configuration", "learning_rate"])[["share_of_steps", "n_seeds"]].max()
    raced = float((shares["share_of_steps"] * shares["n_seeds"]).sum())
    more = int(rates["n_learning_rates"].sum()) - len(rates)  # rates beside the chosen ones
    fixed = n_runs + n_seeds * more
    hours = float(last["hours"]) / n_runs
    return (
        f"This took {n_runs + raced:.0f} whole runs, {raced:.0f} of them for the race; the same "
        f"grid with every rate on all {n_seeds} seeds is {fixed} runs: "
        f"{duration(3600 * hours * (n_runs + raced))} beside {duration(3600 * hours * fixed)} at "
        f"the time of this machine for a run that is trained and measured."
    )


def _rate_row(row: dict[str, Any]) -> tuple[str, ...]:
    words = {True: "yes", False: "no"}
    return (
        row["configuration"],
        f"{row['learning_rate']:g}",
        f"{row['n_learning_rates']}, from {row['lowest']:g} to {row['highest']:g}",
        words[bool(row["at_edge"])],
        words[bool(row["still_falling"])],
    )


def _look_row(row: dict[str, Any]) -> tuple[str, ...]:
    seeds = f"{row['n_seeds']} ({row['seeds']})"
    level = f"{row['level']:.4f}"
    return (str(row["look"]), level, seeds, str(row["n_runs"]), row["claim"], row["outcome"])

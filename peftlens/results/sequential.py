"""Files of a study that runs until its claims are decided: what was raced, chosen and judged.

DIR/decisions.json    settings of the decisions
    selection.csv     scores of the learning rates, at each rung of the race
    rates.csv         chosen learning rate of each configuration
    looks.csv         verdict on each claim, at each look
    time.json         seconds of both stages
    selection/        study of the race, on seeds of its own
    confirmation/     study of the chosen rates, on fresh seeds
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from peftlens.errors import InputError
from peftlens.io.escaping import from_csv, to_csv
from peftlens.io.files import write_atomic
from peftlens.numerics.counts import counted
from peftlens.results.table import Table

SELECTION, CONFIRMATION = "selection", "confirmation"
SETTINGS, RUNGS, RATES, LOOKS = "decisions.json", "selection.csv", "rates.csv", "looks.csv"
RACED_RATES = "raced_rates"  # name under which claims read the rates
DECIDED = ("supported", "contradicted")
PLATEAU = 0.01  # relative decrease of the loss over the last quarter, below which it is one
COLUMNS = {
    RUNGS: (
        "configuration", "name_in_results", "learning_rate", "share_of_steps", "n_seeds",
        "validation_accuracy", "validation_loss", "kept",
    ),
    RATES: (
        "configuration", "learning_rate", "n_learning_rates", "lowest", "highest", "at_edge",
        "n_seeds", "validation_accuracy", "validation_loss", "loss_decrease", "still_falling",
    ),
    LOOKS: (
        "look", "level", "n_seeds", "seeds", "claim", "outcome", "sentence", "n_runs", "hours",
    ),
}  # fmt: skip


def frames_to_judge(folder: Path, tables: Mapping[str, Table]) -> dict[str, pd.DataFrame]:
    """Return the rows of a study's tables, and of the race whose rates the study confirms.

    Args:
        folder: folder of the study, such as DIR/confirmation.
        tables: tables of the study.
    """
    frames = {name: one.frame for name, one in tables.items()}
    if is_sequential(folder.parent) and folder.name == CONFIRMATION:
        frames[RACED_RATES] = read_rows(folder.parent, RATES)
    return frames


def is_sequential(folder: Path) -> bool:
    """Whether a folder is that of a study that runs until its claims are decided."""
    return (folder / SETTINGS).is_file()


def study_folder(folder: Path) -> Path:
    """Return the folder of the study whose results decide: the confirmation's, or the given one."""
    return folder / CONFIRMATION if is_sequential(folder) else folder


def whole_study(folder: Path) -> Path:
    """Return the folder that a reader names to get the results in this one; see `study_folder`."""
    return folder.parent if folder == study_folder(folder.parent) else folder


def read_rows(folder: Path, name: str) -> pd.DataFrame:
    """Read one of the tables in `COLUMNS`; it has no rows before it is written.

    Raises:
        InputError: the file is damaged.
    """
    columns, file = list(COLUMNS[name]), folder / name
    if not file.exists():
        return pd.DataFrame(columns=columns)
    try:
        frame = from_csv(file.read_text(encoding="utf-8"))
        return frame[columns]
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{file} is damaged ({error}); delete it, and the study's command judges again"
        ) from error


def read_records(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read the rows of one of the tables in `COLUMNS`; see `read_rows`."""
    rows = read_rows(folder, name).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in rows]


def write_rows(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write one of the tables in `COLUMNS` as a whole."""
    write_atomic(folder / name, to_csv(frame[list(COLUMNS[name])]).encode())


def last_verdicts(looks: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each claim: of the look that decided it, or of the latest."""
    return looks.drop_duplicates("claim", keep="last")


def undertrained(rates: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each configuration whose rate or number of steps may be too low.

    Args:
        rates: table of chosen rates.
    """
    for row in rates.to_dict("records"):
        if row["at_edge"]:
            side = "lowest" if row["learning_rate"] == row["lowest"] else "highest"
            yield (
                f"{row['configuration']}: the best rate, {row['learning_rate']:g}, is the {side} "
                f"of {counted(row['n_learning_rates'], 'rate')}, so a better one may lie beyond."
            )
        if row["still_falling"]:
            yield (
                f"{row['configuration']}: undertrained, as the validation loss still fell by "
                f"{row['loss_decrease']:.1%} over the last quarter of the steps."
            )

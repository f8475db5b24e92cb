"""Shared by the scripts of this folder: rows of a study's tables."""

from pathlib import Path

import pandas as pd

from peftlens.results import table


def read(study: Path, name: str) -> pd.DataFrame:
    """Read the measured rows of one probe's table."""
    return table.measured(table.read(study / "tables" / f"{name}.parquet").frame)

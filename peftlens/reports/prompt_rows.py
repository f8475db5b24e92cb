"""Plots with a row for each soft prompt: trained ones in their method's color, the rest gray."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from peftlens.figures.method_styles import GRAY, SYMBOLS, Style, method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.results.display_names import display_name, method_name

ROWS = 24  # prompts in a figure


def by_prompt(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Name each prompt in a column `prompt_name`, and yield as many as fit in a figure at a time.

    Args:
        rows: rows with the identity of their runs.
    """
    names = [display_name(str(one)) for one in rows["configuration"]]
    texts = [f"{name}, seed {seed}" for name, seed in zip(names, rows["seed"], strict=True)]
    rows = rows.assign(prompt_name=texts)
    prompts = list(dict.fromkeys(texts))
    for first in range(0, len(prompts), ROWS):
        yield rows[rows["prompt_name"].isin(prompts[first : first + ROWS])]


def prompt_plot(
    rows: pd.DataFrame, *, title: str, finding: str, x: Axis, series: Sequence[Series]
) -> Plot:
    """Make a plot with a row for each prompt of `by_prompt`."""
    prompts = tuple(dict.fromkeys(rows["prompt_name"]))
    return Plot(title=title, finding=finding, x=x, y=Axis("", "names", prompts),
                series=tuple(series))  # fmt: skip


def trained(rows: pd.DataFrame, column: str, name: str = "trained vectors") -> Iterator[Series]:
    """Yield a series for each method, of the values of one column.

    Args:
        rows: rows of `by_prompt`.
        column: column of the values.
        name: name of the series, if there is only one method.
    """
    alone = rows["method"].nunique() == 1
    for method, own in rows.dropna(subset=[column]).groupby("method", sort=False):
        yield Series(
            name=name if alone else method_name(str(method)),
            x=tuple(own[column].astype(float)),
            y=tuple(own["prompt_name"]),
            keys=tuple(own["configuration"]),
            style=method_style(str(method)),
        )


def compared(rows: pd.DataFrame, columns: Mapping[str, str]) -> Iterator[Series]:
    """Yield a gray series for each column that has values.

    Args:
        rows: rows of `by_prompt`.
        columns: names of the series, by column.
    """
    for place, (column, name) in enumerate(columns.items()):
        some = rows.dropna(subset=[column]) if column in rows else rows.iloc[:0]
        if len(some):
            yield reference(some, some[column], name, place)


def reference(rows: pd.DataFrame, values: pd.Series, name: str, place: int) -> Series:
    """Make a gray series.

    Args:
        rows: rows of `by_prompt`.
        values: value of each row.
        name: name of the series.
        place: number of the series, which decides its mark.
    """
    return Series(
        name=name,
        x=tuple(values.astype(float)),
        y=tuple(rows["prompt_name"]),
        keys=tuple(rows["configuration"]),
        style=Style(GRAY, SYMBOLS[1 + place % (len(SYMBOLS) - 1)], is_open=True),
    )

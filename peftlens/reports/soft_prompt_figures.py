"""Figures of soft prompts: tightness against its nulls, movement, and place of each vector.

They show the last step and, as everywhere on the page, the metric cosine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from peftlens import figures
from peftlens.figures.method_styles import GRAY, Style, method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.numerics.counts import counted
from peftlens.numerics.rounding import number
from peftlens.results.display_names import display_name
from peftlens.results.table import Chart, Table, last_steps, measured

ROWS = 24  # prompts in a figure
# nulls of `soft_prompt_null`, with a mark each: all are gray
NULLS = {
    "random_directions": ("random directions", "x"),
    "steps": ("random steps from the start", "diamond"),
    "untrained": ("untrained prompts", "square"),
    "real_tokens": ("single real tokens", "triangle-up"),
    "random_tokens": ("random tokens", "cross"),
}
_READABLE = ("readable", "displacement readable")


def null_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot tightness against its nulls, and movement, from `soft_prompt_null`."""
    data = tables["soft_prompt_null"]
    frame = measured(data.frame)
    frame = frame[frame["metric"] == "cosine"]
    if frame.empty:
        return []
    found = [_tightness(part) for part in _parts(last_steps(frame[frame["position"].isna()]))]
    return [*found, *_movement(replace(data, frame=frame[frame["position"].notna()]))]


def neighbor_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot the place of each vector between a token and noise, from `soft_prompt_neighbors`."""
    frame = measured(tables["soft_prompt_neighbors"].frame)
    frame = frame[frame["metric"] == "cosine"].dropna(subset=["off_vocabulary"])
    if frame.empty:
        return []
    rows = _with_verdicts(last_steps(frame), tables.get("soft_prompt_null"))
    return [_strip(part) for part in _parts(rows)]


def _parts(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Name each prompt, and yield as many as fit in a figure at a time."""
    names = [display_name(str(one)) for one in rows["configuration"]]
    texts = [f"{name}, seed {seed}" for name, seed in zip(names, rows["seed"], strict=True)]
    rows = rows.assign(prompt=texts)
    prompts = list(dict.fromkeys(texts))
    for first in range(0, len(prompts), ROWS):
        yield rows[rows["prompt"].isin(prompts[first : first + ROWS])]


def _tightness(rows: pd.DataFrame) -> Plot:
    columns = {null: f"mean_{null}" for null in NULLS}
    filled = rows.dropna(axis="columns", how="all")
    present = [null for null, column in columns.items() if column in filled]
    nulls = [_null(rows, null, columns[null]) for null in present]
    return Plot(
        title="Mean cosine between the nearest words of each prompt's vectors, and of the same "
        "number of vectors without training",
        finding=_tighter(rows),
        x=Axis("tightness"),
        y=Axis("", "names", tuple(dict.fromkeys(rows["prompt"]))),
        series=(*nulls, *_trained(rows, "tightness")),
    )


def _null(rows: pd.DataFrame, null: str, column: str) -> Series:
    name, symbol = NULLS[null]
    some = rows.dropna(subset=[column])
    values = tuple(some[column].astype(float))
    return Series(name, values, tuple(some["prompt"]), tuple(some["configuration"]),
                  style=Style(GRAY, symbol, is_open=True))  # fmt: skip


def _trained(rows: pd.DataFrame, column: str) -> Iterator[Series]:
    for method, own in rows.dropna(subset=[column]).groupby("method", sort=False):
        yield Series(
            name="trained vectors" if rows["method"].nunique() == 1 else display_name(str(method)),
            x=tuple(own[column].astype(float)),
            y=tuple(own["prompt"]),
            keys=tuple(own["configuration"]),
            style=method_style(str(method)),
        )


def _tighter(rows: pd.DataFrame) -> str:
    tested = rows.dropna(subset=["p_random_directions"])
    tighter = int((tested["p_random_directions"].astype(float) <= 0.05).sum())
    return (
        f"The nearest words of {tighter} of {counted(len(tested), 'prompt')} are closer together "
        "than those of random directions (p at most 0.05)."
    )


def _movement(data: Table) -> list[Plot]:
    """Plot the median movement of each configuration's vectors with the range of most."""
    if "moved" not in data.frame or data.frame["moved"].isna().all():
        return []
    chart = Chart("points", x="configuration", y="moved",
                  title="Movement of the vectors, relative to the length of their start")  # fmt: skip
    return figures.plots(data, chart)


def _with_verdicts(rows: pd.DataFrame, data: Table | None) -> pd.DataFrame:
    if data is None:
        return rows.assign(verdict="not tested")
    tested = measured(data.frame)
    tested = last_steps(tested[tested["metric"] == "cosine"]).dropna(subset=["position"])
    verdicts = dict(zip(zip(tested["run"], tested["position"], strict=True), tested["verdict"],
                        strict=True))  # fmt: skip
    keys = zip(rows["run"], rows["position"], strict=True)
    return rows.assign(verdict=[verdicts.get(key, "not tested") for key in keys])


def _strip(rows: pd.DataFrame) -> Plot:
    return Plot(
        title="Place of each vector between a token (0 %) and noise (100 %): the share of tokens "
        "that lie nearer to another token than the vector to its nearest",
        finding=_between(rows),
        x=Axis("off the vocabulary (%)"),
        y=Axis("", "names", tuple(dict.fromkeys(rows["prompt"]))),
        series=tuple(_strip_series(rows)),
    )


def _strip_series(rows: pd.DataFrame) -> Iterator[Series]:
    """Yield the vectors of each method and verdict; those not readable are outlines."""
    for (method, verdict), own in rows.groupby(["method", "verdict"], sort=False):
        style = method_style(str(method))
        symbol = "triangle-up" if verdict == "start kept" else style.symbol
        yield Series(
            name=str(verdict) if rows["method"].nunique() == 1
            else f"{display_name(str(method))}: {verdict}",
            x=tuple(100 * own["off_vocabulary"].astype(float)),
            y=tuple(own["prompt"]),
            keys=tuple(f"vector {one}: {name}" for one, name in
                       zip(own["position"], own["configuration"], strict=True)),
            style=replace(style, symbol=symbol, is_open=verdict not in _READABLE),
        )  # fmt: skip


def _between(rows: pd.DataFrame) -> str:
    places = 100 * rows["off_vocabulary"].astype(float)
    far = int((places >= 50).sum())
    return (
        f"{far} of {counted(len(rows), 'vector')} lie farther from the nearest token than half of "
        f"the tokens do; the median is {number(round(float(places.median()), 1))} %."
    )

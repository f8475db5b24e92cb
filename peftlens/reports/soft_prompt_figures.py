"""Figures of soft prompts: tightness against its nulls, movement, and place of each vector.

They show the last step and, as everywhere on the page, the metric cosine. Every row is a prompt;
what was not trained is gray.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

from peftlens import figures
from peftlens.figures.method_styles import GRAY, Style, method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.numerics.counts import counted
from peftlens.reports.prompt_rows import by_prompt, compared, prompt_plot, trained
from peftlens.results.display_names import method_name
from peftlens.results.table import Chart, Column, Table, last_steps, measured

NULLS = {
    "random_directions": "random directions",
    "steps": "random steps from the start",
    "untrained": "untrained prompts",
    "real_tokens": "single real tokens",
    "random_tokens": "random tokens",
}
_READABLE = ("readable", "displacement readable")
_HALF = 0.5  # cosine below which a vector is closer to a random direction than to its start


def null_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot tightness against its nulls, and movement, from `soft_prompt_null`."""
    data = tables["soft_prompt_null"]
    frame = measured(data.frame)
    frame = frame[frame["metric"] == "cosine"]
    if frame.empty:
        return []
    prompts = last_steps(frame[frame["position"].isna()])
    found = [_tightness(rows) for rows in by_prompt(prompts)]
    return [*found, *_movement(replace(data, frame=frame[frame["position"].notna()]))]


def _tightness(rows: pd.DataFrame) -> Plot:
    return prompt_plot(
        rows,
        title="Mean cosine between the nearest words of each prompt's vectors, and of the same "
        "number of vectors without training",
        finding=_tighter(rows),
        x=Axis("tightness"),
        series=[*compared(rows, {f"mean_{one}": name for one, name in NULLS.items()}),
                *trained(rows, "tightness")],
    )  # fmt: skip


def _tighter(rows: pd.DataFrame) -> str:
    tested = rows.dropna(subset=["p_random_directions"])
    tighter = int((tested["p_random_directions"].astype(float) <= 0.05).sum())
    verb = "lie" if tighter != 1 else "lies"
    return (
        f"The nearest words of {tighter} of {counted(len(tested), 'prompt')} {verb} closer "
        "together than those of random directions (p at most 0.05)."
    )


def _movement(data: Table) -> list[Plot]:
    """Plot the median movement of each configuration's vectors, with the range of most."""
    if "moved" not in data.frame or data.frame["moved"].isna().all():
        return []
    column = Column("movement", "", "lengths of the start")
    moved = replace(data, columns=(column,), frame=data.frame.rename(columns={"moved": "movement"}))
    title = "Distance of the vectors from where they started"
    return figures.plots(moved, Chart("points", x="configuration", y="movement", title=title))


def neighbor_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot the place of each vector between its start and noise, from `soft_prompt_neighbors`.

    Of vectors whose start is unknown, and in tables of earlier versions, the cosine with the
    nearest token is plotted.
    """
    frame = measured(tables["soft_prompt_neighbors"].frame)
    frame = frame[frame["metric"] == "cosine"]
    if frame.empty:
        return []
    rows = _with_verdicts(last_steps(frame), tables.get("soft_prompt_null"))
    is_known = "start_cosine" in rows and rows["start_cosine"].notna().all()
    return [(_from_start if is_known else _from_token)(part) for part in by_prompt(rows)]


def _from_start(rows: pd.DataFrame) -> Plot:
    far = int((rows["start_cosine"].astype(float) < _HALF).sum())
    return prompt_plot(
        rows,
        title="Place of each vector between its start (1) and noise (0, a random direction); "
        "outlines are not readable, diamonds a random step of the same length",
        finding=f"{far} of {counted(len(rows), 'vector')} lie closer to noise than to their start.",
        x=Axis("cosine with the start"),
        series=[*_random_steps(rows), *_vectors(rows, "start_cosine")],
    )


def _from_token(rows: pd.DataFrame) -> Plot:
    far = int((rows["similarity"].astype(float) < _HALF).sum())
    return prompt_plot(
        rows,
        title="Place of each vector between a token (1) and noise; outlines are not readable",
        finding=f"{far} of {counted(len(rows), 'vector')} have a cosine below {_HALF} with every "
        "token.",
        x=Axis("cosine with the nearest token"),
        series=[*_vectors(rows, "similarity")],
    )


def _random_steps(rows: pd.DataFrame) -> Iterator[Series]:
    """Yield each prompt's mean place after steps of the same lengths in random directions.

    A random step is nearly orthogonal to the start: after a step of r times the start's length the
    cosine with the start is 1 / √(1 + r²).
    """
    moved = rows.dropna(subset=["relative_displacement"])
    cosines = (1 + moved["relative_displacement"].astype(float) ** 2) ** -0.5
    means = cosines.groupby(moved["prompt_name"], sort=False).mean()
    keys = moved.drop_duplicates("prompt_name").set_index("prompt_name")["configuration"]
    if len(means):
        yield Series("random step", tuple(means), tuple(means.index), tuple(keys[means.index]),
                     style=Style(GRAY, "diamond", is_open=True))  # fmt: skip


def _vectors(rows: pd.DataFrame, column: str) -> Iterator[Series]:
    """Yield the vectors of each method and verdict; those not readable are outlines."""
    alone = rows["method"].nunique() == 1
    for (method, verdict), own in rows.groupby(["method", "verdict"], sort=False):
        style = method_style(str(method))
        yield Series(
            name=str(verdict) if alone else f"{method_name(str(method))}: {verdict}",
            x=tuple(own[column].astype(float)),
            y=tuple(own["prompt_name"]),
            keys=tuple(f"vector {one}, {name}" for one, name in
                       zip(own["position"], own["configuration"], strict=True)),
            style=replace(style, symbol="triangle-up" if verdict == "start kept" else style.symbol,
                          is_open=verdict not in _READABLE),
        )  # fmt: skip


def _with_verdicts(rows: pd.DataFrame, data: Table | None) -> pd.DataFrame:
    if data is None:
        return rows.assign(verdict="not tested")
    tested = measured(data.frame)
    tested = last_steps(tested[tested["metric"] == "cosine"]).dropna(subset=["position"])
    verdicts = dict(zip(zip(tested["run"], tested["position"], strict=True), tested["verdict"],
                        strict=True))  # fmt: skip
    keys = zip(rows["run"], rows["position"], strict=True)
    return rows.assign(verdict=[verdicts.get(key, "not tested") for key in keys])

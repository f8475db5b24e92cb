"""Loss curves: training loss by step, with the validation losses that were recorded.

The training loss is that of each logged step's batches: noisy, and no measure of generalization.
The validation loss is that of held-out examples, as recorded in training or, at saved checkpoints,
by the probe `learning`. Every configuration is a line, the mean over its seeds.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from peftlens.figures import LINES, packed
from peftlens.figures.labels import styles
from peftlens.figures.method_styles import REFERENCE, REFERENCES, Style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.numerics.rounding import number
from peftlens.results.display_names import display_name
from peftlens.results.study_results import StudyResults
from peftlens.results.table import IDENTITY, Chart, Column, Table, measured
from peftlens.runs.trained_model import TrainedModel

NAME = "loss_curves"
COLUMNS = (
    *IDENTITY,
    Column("step", "number of optimizer steps taken", "steps"),
    Column("training_loss", "loss of the training batches", "nats per token", "lower"),
    Column("validation_loss", "loss of the validation examples", "nats per token", "lower"),
)
POINTS = 100  # points of a line; of more logged steps, neighbors are averaged
_LOG = 10  # ratio of the largest loss to the smallest from which the axis is logarithmic
_LOSSES = ("training_loss", "validation_loss")


def loss_table(results: StudyResults) -> Table | None:
    """Collect the losses of a study's runs; None if no training was recorded.

    Returns:
        Table with a row per run and step, and a loss in each.
    """
    rows = [row for run in results.runs for row in _of_run(results, run)]
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    frame = frame.astype(dict.fromkeys(_LOSSES, "Float64"))
    if "learning" in results.tables:
        frame = _with_checkpoints(frame, measured(results.tables["learning"].frame))
    if frame["training_loss"].isna().all():
        return None
    return Table(NAME, 1, COLUMNS, (), frame)


def _of_run(results: StudyResults, run: TrainedModel) -> Iterator[dict]:
    recorded: dict[int, dict] = {}
    for line in run.metrics():
        losses = {"training_loss": line.get("loss"), "validation_loss": line.get("validation_loss")}
        present = {name: loss for name, loss in losses.items() if loss is not None}
        if "step" in line and present:
            recorded.setdefault(line["step"], {}).update(present)
    for step, losses in recorded.items():
        yield {
            "run": run.id,
            "configuration": results.configurations[run.id],
            "method": run.config.method,
            "seed": run.config.seed,
            "step": step,
        } | losses


def _with_checkpoints(frame: pd.DataFrame, learning: pd.DataFrame) -> pd.DataFrame:
    """Add the validation losses at saved checkpoints, in place of the recorded ones."""
    saved = learning.dropna(subset=["loss"]).rename(columns={"loss": "validation_loss"})
    keys = ["run", "configuration", "method", "seed", "step"]
    both = frame.merge(saved[[*keys, "validation_loss"]], on=keys, how="outer",
                       suffixes=("", "_saved"))  # fmt: skip
    losses = both["validation_loss_saved"].fillna(both["validation_loss"])
    return both.assign(validation_loss=losses)[list(frame)].sort_values(
        ["run", "step"], kind="stable", ignore_index=True
    )


def loss_plots(table: Table) -> list[Plot]:
    """Plot the losses of up to eight configurations in each figure."""
    frame = table.frame
    trained = frame[~frame["method"].isin(REFERENCES)]
    names = list(dict.fromkeys(trained.dropna(subset=["training_loss"])["configuration"]))
    chart = Chart("line", x="step", y="training_loss", title="", by="configuration")
    looks = dict(zip(names, styles(table, chart, names), strict=True))
    groups = [("", names)] if len(names) <= LINES else list(packed(trained, chart.by, LINES))  # pyright: ignore[reportArgumentType]
    return [_plot(frame, {name: looks[name] for name in some}, part) for part, some in groups]


def _plot(frame: pd.DataFrame, looks: Mapping[str, Style], part: str) -> Plot:
    own = {name: frame[frame["configuration"] == name] for name in looks}
    series = [
        *(_training(name, rows, looks[name]) for name, rows in own.items()),
        *(one for name, rows in own.items() for one in _validation(name, rows, looks[name])),
    ]
    series += _base(frame, [float(x) for one in series for x in one.x])
    losses = [float(y) for one in series for y in one.y]
    is_log = min(losses) > 0 and max(losses) > _LOG * min(losses)
    plot = Plot(
        title="Loss by step (lines: training batches; marks: validation examples; bands: range "
        "over seeds)",
        finding=_finding(own),
        x=Axis("step"),
        y=Axis("loss (nats per token)", "log" if is_log else "number"),
        series=tuple(series),
    )
    return plot.named(part) if part else plot


def _training(name: str, rows: pd.DataFrame, style: Style) -> Series:
    means = _by_step(rows, "training_loss")
    means = means.groupby(_bins(len(means)), sort=True).mean()
    banded = rows["seed"].nunique() > 1
    return Series(
        name=display_name(name),
        x=tuple(means["step"]),
        y=tuple(means["mean"]),
        keys=(name,) * len(means),
        low=tuple(means["min"]) if banded else (),
        high=tuple(means["max"]) if banded else (),
        draws="line",
        style=style,
    )


def _validation(name: str, rows: pd.DataFrame, style: Style) -> Iterator[Series]:
    means = _by_step(rows, "validation_loss")
    if len(means):
        yield Series(
            name="",
            x=tuple(means["step"]),
            y=tuple(means["mean"]),
            keys=(name,) * len(means),
            draws="marks",
            style=style,
        )


def _base(frame: pd.DataFrame, steps: list[float]) -> list[Series]:
    """Draw the validation loss of the untrained base across, if it was recorded."""
    rows = frame[frame["method"].isin(REFERENCES)].dropna(subset=["validation_loss"])
    if rows.empty:
        return []
    name, loss = str(rows["configuration"].iloc[0]), float(rows["validation_loss"].mean())
    ends = (min(steps), max(steps))
    return [Series(f"{display_name(name)}, validation", ends, (loss,) * 2, (name,) * 2,
                   draws="line", style=REFERENCE)]  # fmt: skip


def _by_step(rows: pd.DataFrame, loss: str) -> pd.DataFrame:
    """Average the losses of a configuration's seeds at each step; columns step, mean, min, max."""
    present = rows.dropna(subset=[loss]).astype({loss: float, "step": float})
    return present.groupby("step")[loss].agg(["mean", "min", "max"]).reset_index()


def _bins(n: int) -> list[int]:
    size = -(-n // POINTS)
    return [place // size for place in range(n)] if size else []


def _finding(own: Mapping[str, pd.DataFrame]) -> str:
    """Name the lowest and the highest loss at the end: of validation examples if all have it."""
    for loss, words in (("validation_loss", "validation loss"), ("training_loss", "training loss")):
        ends = {display_name(name): _by_step(rows, loss)["mean"] for name, rows in own.items()}
        if any(values.empty for values in ends.values()):
            continue
        order = sorted((float(values.iloc[-1]), name) for name, values in ends.items())
        texts = [f"{name}, {number(float(f'{value:.3g}'))}" for value, name in order]
        if len(texts) == 1:
            return f"Last {words} of {texts[0]} nats per token."
        if order[0][0] == order[-1][0]:
            return f"The {words} at the end is {number(order[0][0])} nats per token for all."
        return f"Lowest {words} at the end: {texts[0]} nats per token; highest: {texts[-1]}."
    return ""

"""Write reports/rank, reports/placement and reports/prompt_length, each from its study.

for name in rank placement prompt_length; do
    peftlens study analyses/$name.toml --out studies/$name
done
python analyses/rank.py studies
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from measured import opened, read

from peftlens.claims import judge, told

REPORTS = Path(__file__).parent.parent / "reports"
TABLES = ("rank_chart", "paired_accuracy", "parameter_count", "cost")
OPTIONAL = ("delta_spectrum", "subspace_overlap", "base_parameters")


def found_in(study: Path) -> dict[str, pd.DataFrame]:
    """The study's tables by name, those that it has."""
    names = [
        name for name in (*TABLES, *OPTIONAL) if (study / "tables" / f"{name}.parquet").exists()
    ]
    return {name: read(study, name) for name in names}


def draw(
    chart: pd.DataFrame, file: Path, joined: bool, width: int = 1000, height: int = 520
) -> None:
    """Accuracy against trainable parameters, a colour a method, with 95 % intervals.

    Args:
        chart: the table.
        file: the picture.
        joined: a method's configurations are joined by a line.
        width: of the picture, px.
        height: px.
    """
    figure = go.Figure()
    for method, rows in chart[chart["trainable_parameters"] > 0].groupby("method", sort=False):
        accuracy = rows["accuracy"].astype(float)
        label = (
            rows["setting"]
            .str.partition(" ")[2]
            .str.replace(r"(target_\w+|num_\w+)=", "", regex=True)
        )
        figure.add_scatter(
            x=rows["trainable_parameters"], y=accuracy, name=str(method),
            mode="lines+markers+text" if joined else "markers+text",
            text=label, textposition="top right", textfont_size=11, cliponaxis=False,
            error_y={"array": rows["high"].astype(float) - accuracy,
                     "arrayminus": accuracy - rows["low"].astype(float), "thickness": 1},
        )  # fmt: skip
    for name, rows in chart[chart["trainable_parameters"] == 0].groupby("setting"):
        figure.add_hline(
            y=float(rows["accuracy"].iloc[0]), line={"dash": "dot", "width": 1, "color": "gray"},
            annotation_text=name,
        )  # fmt: skip
    figure.update_layout(
        template="simple_white", width=width, height=height, margin={"t": 20},
        xaxis={"type": "log", "title": "trainable parameters", "dtick": 1},
        yaxis={"title": "accuracy (bars: 95 % interval)",
               "range": [chart["low"].min() - 0.01, chart["high"].max() + 0.01]},
        legend={"orientation": "h", "y": 1.05},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        figure.write_html(page, config={"staticPlot": True})
        with opened(page, width + 20, height + 20) as shot:
            shot.locator(".js-plotly-plot").screenshot(path=file)


def rows_of(chart: pd.DataFrame) -> str:
    """The README's table, a row a configuration."""
    lines = [
        "| configuration | parameters | rate | accuracy (95 % interval) | to the method's best "
        "| enough | front | to the LoRA of like size | step, s | memory, MB |",
        "|---" * 10 + "|",
    ]
    for row in chart.to_dict("records"):
        gap = (row["against_best"], row["against_best_low"], row["against_best_high"])
        like = "–"
        if pd.notna(row["against_like"]):
            ends = (row["against_like"], row["against_like_low"], row["against_like_high"])
            like = f"{told(*ends)} ({row['like']})"
        step = "–" if pd.isna(row["step_seconds"]) else f"{row['step_seconds']:.2f}"
        memory = row["peak_memory_bytes"]
        lines.append(
            f"| {row['setting']} | {row['trainable_parameters']:,} | {row['learning_rate']:g} "
            f"| {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}) | {told(*gap)} "
            f"| {row['enough']}{', smallest' if row['saturated'] else ''} | {row['p_front']:.0%} "
            f"| {like} | {step} | {'–' if pd.isna(memory) else f'{memory / 1e6:.0f}'} |"
        )
    return "\n".join(lines)


def spectra(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over weights and seeds of what each configuration's updates use."""
    columns = ["relative_norm", "stable_rank", "effective_rank", "k90", "effective_rank_used"]
    last = frame[frame["step"] == frame.groupby("run")["step"].transform("max")]
    names = ["configuration", "method", "rank"]
    return last.groupby(names, sort=False, dropna=False)[columns].mean().reset_index()


def overlaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over pairs of runs that stand under one learning rate."""
    rate = frame["configuration"].str.extract(r"learning_rate=(\S+)", expand=False)
    names = ["between", "side", "role", "directions"]
    means = frame.assign(learning_rate=rate).groupby([*names, "learning_rate"])
    return means[["similarity", "random", "smallest_angle", "largest_angle"]].mean().reset_index()


def claims(tables: dict[str, pd.DataFrame]) -> str:
    """The verdicts that these tables give."""
    return "\n".join(
        f"- **{v.text}** {v.outcome.capitalize()}. {v.sentence}"
        for v in judge(tables)
        if v.outcome != "not measured"
    )


def write(name: str, study: Path) -> None:
    """One report: CSV files, a picture, and the README's tables below its text."""
    out = REPORTS / name
    out.mkdir(parents=True, exist_ok=True)
    tables = found_in(study)
    kept = {"rank_chart": tables["rank_chart"], "paired_accuracy": tables["paired_accuracy"]}
    if "delta_spectrum" in tables:
        kept["delta_spectrum"] = spectra(tables["delta_spectrum"])
    if "subspace_overlap" in tables:
        kept["subspace_overlap"] = overlaps(tables["subspace_overlap"])
    for table, frame in kept.items():
        frame.to_csv(out / f"{table}.csv", index=False, float_format="%.6g")
    # a line only where size alone grows along it
    draw(tables["rank_chart"], out / "chart.png", joined=name != "placement")
    page = out / "README.md"
    text = page.read_text().partition("<!-- tables -->")[0] if page.exists() else ""
    page.write_text(
        f"{text}<!-- tables -->\n## Claims\n\n{claims(tables)}\n\n"
        f"## Every configuration\n\n{rows_of(tables['rank_chart'])}\n"
    )


if __name__ == "__main__":
    for name in ("rank", "placement", "prompt_length"):
        if (Path(sys.argv[1]) / name / "tables" / "rank_chart.parquet").exists():
            write(name, Path(sys.argv[1]) / name)

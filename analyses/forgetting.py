"""Write reports/forgetting: curves, forgetting at matched fit, and sequences of tasks.

for name in forgetting continual; do
    peftlens study analyses/$name.toml --out studies/$name
done
python analyses/forgetting.py studies
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import plotly.express as px
from measured import opened, read

from peftlens.claims import judge
from peftlens.sequences import ONE

OUT = Path(__file__).parent.parent / "reports" / "forgetting"


def curves(study: Path) -> pd.DataFrame:
    """Means over seeds at every saved step: accuracy on validation examples and forgetting."""
    both = read(study, "learning").merge(
        read(study, "forgetting")[["run", "step", "suite", "forgetting", "kl"]], on=["run", "step"]
    )
    keys = ["method", "configuration", "learning_rate", "suite", "step"]
    found = both.groupby(keys, sort=False)[["accuracy", "loss", "forgetting", "kl"]].mean()
    found["n_seeds"] = both.groupby(keys, sort=False).size()
    return found.reset_index()


def draw(found: pd.DataFrame, width: int = 1000, height: int = 720) -> None:
    """Forgetting against accuracy while training: a panel a method, a line a rate."""
    shown = found.assign(rate=found["learning_rate"].map("{:g}".format))
    figure = px.line(
        shown, x="accuracy", y="forgetting", color="rate", facet_col="method", facet_col_wrap=3,
        markers=True, template="simple_white", width=width, height=height,
        labels={"accuracy": "validation accuracy", "rate": "learning rate",
                "forgetting": "forgetting (nats per token)"},
        color_discrete_sequence=px.colors.sample_colorscale("Viridis", shown["rate"].nunique()),
    )  # fmt: skip
    figure.for_each_annotation(lambda one: one.update(text=one.text.partition("=")[2]))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        figure.write_html(page, config={"staticPlot": True})
        with opened(page, width + 20, height + 20) as shot:
            shot.locator(".js-plotly-plot").screenshot(path=OUT / "curves.png")


def interval(row: pd.Series, name: str, low: str, high: str, form: str = "+.2f") -> str:
    """A number with its interval, or a dash where there is none."""
    if pd.isna(row[name]):
        return "–"
    ends = "" if pd.isna(row[low]) else f" ({row[low]:{form}} to {row[high]:{form}})"
    return f"{row[name]:{form}}{ends}"


def levels(found: pd.DataFrame) -> str:
    """Forgetting where accuracy crosses each level."""
    lines = ["| method | accuracy | rate | forgetting, nats | minus that of full | seeds |",
             "|---" * 6 + "|"]  # fmt: skip
    for _, row in found.iterrows():
        rate = "–" if pd.isna(row["learning_rate"]) else f"{row['learning_rate']:g}"
        lines.append(
            f"| {row['setting']} | {row['level']:.1%} | {rate} "
            f"| {interval(row, 'forgetting', 'low', 'high', '+.3f')} | "
            f"{interval(row, 'against_full', 'against_full_low', 'against_full_high', '+.3f')} "
            f"| {row['n_seeds']} |"
        )
    return "\n".join(lines)


def sequences(found: pd.DataFrame) -> str:
    """ACC, BWT, FWT and F: a row for each method and regime."""
    measures = list(found["measure"].unique())
    lines = [f"| method | regime | {' | '.join(measures)} |", "|---" * (2 + len(measures)) + "|"]
    for (setting, regime), rows in found.groupby(["setting", "regime"], sort=False):
        cells = [interval(row, "value", "low", "high") for _, row in rows.iterrows()]
        lines.append(f"| {setting} | {regime} | {' | '.join(cells)} |")
    return "\n".join(lines)


def matrices(found: pd.DataFrame) -> str:
    """R of one adapter trained on, means over seeds: a row after each task."""
    tasks = list(found["task"].unique())
    lines = [f"| method | after | {' | '.join(tasks)} |", "|---" * (2 + len(tasks)) + "|"]
    kept = found[found["regime"] == ONE]
    for (setting, after), rows in kept.groupby(["setting", "after"], sort=False):
        scores = rows.set_index("task")["accuracy"]
        cells = " | ".join(f"{scores[task]:.3f}" for task in tasks)
        lines.append(f"| {setting} | {after} | {cells} |")
    return "\n".join(lines)


def claims(studies: list[Path]) -> str:
    """The verdicts on what these studies can judge."""
    names = {"forgetting_at_matched_fit": studies[0], "sequence_scores": studies[1]}
    found = judge({name: read(study, name) for name, study in names.items()})
    return "\n".join(f"- **{v.text}** {v.outcome.capitalize()}. {v.sentence}" for v in found
                     if v.outcome != "not measured")  # fmt: skip


def main(folder: Path) -> None:
    """Write the CSV files, the picture, and the README's tables below its text."""
    OUT.mkdir(parents=True, exist_ok=True)
    one, several = folder / "forgetting", folder / "continual"
    found = {
        "curves": curves(one),
        "matched_fit": read(one, "forgetting_at_matched_fit"),
        "continual": read(several, "continual"),
        "continual_matrix": read(several, "continual_matrix"),
    }
    for name, frame in found.items():
        frame.to_csv(OUT / f"{name}.csv", index=False, float_format="%.6g")
    draw(found["curves"])
    page = OUT / "README.md"
    text = page.read_text().partition("<!-- tables -->")[0] if page.exists() else ""
    page.write_text(
        f"{text}<!-- tables -->\n## Claims\n\n{claims([one, several])}\n\n"
        f"## At equal accuracy\n\n{levels(found['matched_fit'])}\n\n"
        f"## Three tasks in sequence\n\n{sequences(found['continual'])}\n\n"
        f"### Accuracy after each task, one adapter trained on\n\n"
        f"{matrices(found['continual_matrix'])}\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Write reports/methods_smoke: one row per method, from the study methods_smoke.toml.

peftlens study analyses/methods_smoke.toml --out studies/methods_smoke
python analyses/methods_smoke.py studies/methods_smoke
"""

import sys
from pathlib import Path

import pandas as pd

from peftlens import registry
from peftlens.results import table
from peftlens.runs.run import Run

OUT = Path(__file__).parent.parent / "reports" / "methods_smoke"


def rows(study: Path) -> pd.DataFrame:
    """Make one row per configuration, lowest final loss first, with 95 % intervals."""

    def read(name: str) -> pd.DataFrame:
        return table.read(study / "tables" / f"{name}.parquet").frame

    learning = read("learning")
    last = learning[learning["step"] == learning.groupby("run")["step"].transform("max")]
    first = learning[learning["step"] == 0].set_index("configuration")["loss"]
    accuracy = read("task_accuracy").set_index("configuration")
    found = last.set_index("configuration")[
        [
            "run",
            "method",
            "step",
            "loss",
            "loss_decrease",
            "loss_decrease_ci_low",
            "loss_decrease_ci_high",
            "n_items",
        ]
    ]
    found = found.rename(columns={"step": "steps", "loss": "loss_after"})
    found.insert(3, "loss_before", first)
    runs = {run: Run(study / "runs" / run).config for run in found["run"]}
    found["learned"] = (found["loss_decrease_ci_low"] > 0).map({True: "yes", False: "no"})
    found.loc[found["steps"] == 0, "learned"] = "nothing is trained"
    found["accuracy"] = accuracy["accuracy"]
    found["accuracy_ci_low"], found["accuracy_ci_high"] = (
        accuracy["items_ci_low"],
        accuracy["items_ci_high"],
    )
    found["learning_rate"] = [runs[run].training.learning_rate for run in found["run"]]
    found["family"] = [registry.load("methods", method).FAMILY for method in found["method"]]
    counts = read("parameter_count").set_index("configuration")
    found["trainable_parameters"] = counts["trainable_parameters"]
    found["adapter_bytes"] = counts["adapter_bytes"]
    return found.drop(columns="run").sort_values("loss_after").reset_index()


def markdown(found: pd.DataFrame) -> str:
    """Format the table of the README."""
    lines = [
        "| configuration | trained | rate | loss before | after | decrease (95 % interval) "
        "| learned | accuracy (95 % interval) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found.itertuples():
        decrease = (
            ""
            if pd.isna(row.loss_decrease)
            else f"{row.loss_decrease:.2f} ({row.loss_decrease_ci_low:.2f} to "
            f"{row.loss_decrease_ci_high:.2f})"
        )
        before = "" if pd.isna(row.loss_before) else f"{row.loss_before:.2f}"
        lines.append(
            f"| `{row.configuration}` | {row.trainable_parameters:,} | {row.learning_rate:g} "
            f"| {before} | {row.loss_after:.2f} | {decrease} | {row.learned} "
            f"| {row.accuracy:.2f} ({row.accuracy_ci_low:.2f} to {row.accuracy_ci_high:.2f}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    result = rows(Path(sys.argv[1]))
    OUT.mkdir(parents=True, exist_ok=True)
    result.to_csv(OUT / "methods.csv", index=False, float_format="%.6g")
    page = OUT / "README.md"
    text = page.read_text(encoding="utf-8").partition("<!-- table -->")[0] if page.exists() else ""
    page.write_text(f"{text}<!-- table -->\n{markdown(result)}", encoding="utf-8")

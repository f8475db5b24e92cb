"""Write waywardness.csv and its table in the notes on soft prompts: one row per anchor weight.

peftlens study analyses/waywardness.toml
python analyses/waywardness.py studies
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measured import read

from peftlens.numerics.resampling import mean_interval
from peftlens.results.table import last_steps
from peftlens.runs.run import Run

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "reports" / "soft_prompts" / "waywardness.csv"
NOTES = ROOT / "analyses" / "notes" / "soft_prompts.md"
MARK = "<!-- waywardness -->\n"


def waywardness(study: Path) -> pd.DataFrame:
    """Make one row per anchor weight: nearest tokens and accuracy of the prompt."""
    near = last_steps(read(study, "soft_prompt_neighbors").query("metric == 'cosine'")).copy()
    configs = {run: Run(study / "runs" / run).config for run in near["run"].unique()}
    targets = {run: config.method_config["anchor_ids"] for run, config in configs.items()}
    nearest = near["token_ids"].str[0].astype(int)
    wanted = [targets[run][position] for run, position in zip(near["run"], near["position"],
                                                              strict=True)]  # fmt: skip
    near["reads_as_the_text"] = nearest == wanted
    near["pull"] = [configs[run].method_config["anchor_weight"] for run in near["run"]]
    found = near.groupby("pull")[
        ["reads_as_the_text", "nearest_unchanged", "relative_displacement", "similarity"]
    ].mean()
    scores = read(study, "soft_prompt_faithfulness")
    pulls = {run: config.method_config["anchor_weight"] for run, config in configs.items()}
    scores["pull"] = scores["run"].map(pulls)
    items = read(study, "task_items")
    items = items[items["run"].isin(pulls)]
    items["pull"] = items["run"].map(pulls)
    rows = []
    for pull, group in items.groupby("pull"):
        right = (group["chosen"] == group["correct"]).groupby(group["item"]).mean()
        interval = mean_interval(right, np.random.default_rng(0))
        rows.append(
            {"pull": pull, "accuracy": right.mean(), "ci_low": interval.low,
             "ci_high": interval.high, "loss": group["loss"].mean(), "n_items": len(right),
             "n_seeds": group["run"].nunique()}
        )  # fmt: skip
    tokens = scores[scores["prompt"] == "nearest tokens (cosine)"].groupby("pull")
    found = found.join(pd.DataFrame(rows).set_index("pull"))
    found["accuracy_of_nearest_tokens"] = tokens["accuracy"].mean()
    found["loss_of_nearest_tokens"] = tokens["loss"].mean()
    return found.reset_index()


def pulled(found: pd.DataFrame) -> str:
    """Format a table with one row per anchor weight."""
    lines = [
        "| γ | accuracy (95 % interval) | loss | nearest token is the text's | cosine to it "
        "| accuracy of those tokens | their loss |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {row.pull:g} | {row.accuracy:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f}) "
        f"| {row.loss:.2f} | {row.reads_as_the_text:.0%} | {row.similarity:.2f} "
        f"| {row.accuracy_of_nearest_tokens:.3f} | {row.loss_of_nearest_tokens:.2f} |"
        for row in found.itertuples()
    ]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Write the table as CSV, and in the notes."""
    found = waywardness(folder / "waywardness")
    found.to_csv(TABLE, index=False, float_format="%.6g")
    before, _, after = NOTES.read_text(encoding="utf-8").split(MARK)
    text = f"{before}{MARK}{pulled(found)}\n{MARK}{after}"
    NOTES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

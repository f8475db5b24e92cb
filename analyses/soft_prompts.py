"""Write reports/soft_prompts: one row per prompt, from three studies.

for file in analyses/studies/soft_prompts_smollm2_*.toml analyses/waywardness.toml; do
    peftlens study $file
done
python analyses/soft_prompts.py studies
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measured import read

from peftlens.numerics.resampling import mean_interval
from peftlens.results.table import last_steps
from peftlens.runs.run import Run

OUT = Path(__file__).parent.parent / "reports" / "soft_prompts"
STUDIES = ("soft_prompts_smollm2_headlines", "soft_prompts_smollm2_words")


def prompts(study: Path) -> pd.DataFrame:
    """Make one row per trained prompt: accuracy, verdicts with p-values, and faithfulness."""
    null = read(study, "soft_prompt_null").query("metric == 'cosine'")
    whole = last_steps(null[null["position"].isna()]).set_index("run")
    found = whole[
        ["seed", "verdict", "readable", "nearest_unchanged", "tightness", "context_tightness"]
    ].copy()
    found["p_random_directions"] = whole["p_random_directions"]
    found["p_steps"] = whole["p_steps"]
    each = last_steps(null[null["position"].notna()])
    for word in ("displacement readable", "start kept", "not distinguishable from noise"):
        found[word.replace(" ", "_")] = (each["verdict"] == word).groupby(each["run"]).mean()
    near = last_steps(read(study, "soft_prompt_neighbors").query("metric == 'cosine'"))
    near = near.groupby("run")[
        ["relative_displacement", "similarity", "off_vocabulary", "norm_percentile"]
    ]
    found = found.join(near.mean())
    words = last_steps(read(study, "soft_prompt_task_words"))
    words = words[words["position"].isna() & words["own"].astype(bool)].set_index("run")
    found["p_task_words"] = words["p"]
    clusters = last_steps(read(study, "vocabulary_clusters"))
    clusters = clusters[clusters["position"].isna()].set_index("run")
    found = found.join(clusters[["clusters_used", "entropy"]])
    found = found.join(clusters[["p_steps"]].rename(columns={"p_steps": "p_entropy_steps"}))
    scores = read(study, "soft_prompt_faithfulness")
    scores = scores[scores["prompt"] != "without one"]
    for column in ("accuracy", "loss"):
        wide = scores.pivot(index="run", columns="prompt", values=column)
        wide.columns = [f"{column}: {name}" for name in wide.columns]
        found = found.join(wide)
    runs = {run: Run(study / "runs" / run).config for run in found.index}
    found.insert(0, "task", [runs[run].task for run in found.index])
    found.insert(1, "init", [runs[run].method_config["init"] for run in found.index])
    return found.reset_index(drop=True)


def over_time(study: Path) -> pd.DataFrame:
    """Compute means over seeds at every checkpoint."""
    null = read(study, "soft_prompt_null").query("metric == 'cosine'")
    whole = null[null["position"].isna()].copy()
    moved = read(study, "soft_prompt_neighbors").query("metric == 'cosine'")
    moved = moved.groupby(["run", "step"])["relative_displacement"].mean()
    whole = whole.join(moved, on=["run", "step"])
    configs = {run: Run(study / "runs" / run).config for run in whole["run"].unique()}
    whole["init"] = [configs[run].method_config["init"] for run in whole["run"]]
    whole["task"] = [configs[run].task for run in whole["run"]]
    measured = [
        "relative_displacement",
        "nearest_unchanged",
        "readable",
        "tightness",
        "context_tightness",
    ]
    return whole.groupby(["task", "init", "step"])[measured].mean().reset_index()


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


def verdicts(found: pd.DataFrame) -> str:
    """Format the README's table with one row per prompt."""
    lines = [
        "| task | init | seed | accuracy | verdict | readable | displacement | start kept | noise "
        "| p directions | p steps | p task words | loss trained → nearest tokens |",
        "|---" * 13 + "|",
    ]
    for row in found.to_dict("records"):
        shares = [row["readable"], row["displacement_readable"], row["start_kept"],
                  row["not_distinguishable_from_noise"]]  # fmt: skip
        p = [row["p_random_directions"], row["p_steps"], row["p_task_words"]]
        loss = row["loss: trained"], row["loss: nearest tokens (cosine)"]
        lines.append(
            f"| {row['task']} | {row['init']} | {row['seed']} | {row['accuracy: trained']:.3f} | "
            f"{row['verdict']} | {' | '.join(f'{share:.0%}' for share in shares)} | "
            f"{' | '.join(f'{one:.3f}' for one in p)} | {loss[0]:.2f} → {loss[1]:.2f} |"
        )
    return "\n".join(lines)


def pulled(found: pd.DataFrame) -> str:
    """Format the README's table with one row per anchor weight."""
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
    """Write the CSV files, and the tables in the README."""
    OUT.mkdir(parents=True, exist_ok=True)
    studies = [folder / name for name in STUDIES]
    found = pd.concat([prompts(study) for study in studies]).sort_values(["task", "init", "seed"])
    times = pd.concat([over_time(study) for study in studies])
    pulls = waywardness(folder / "waywardness")
    for name, frame in {"prompts": found, "over_time": times, "waywardness": pulls}.items():
        frame.to_csv(OUT / f"{name}.csv", index=False, float_format="%.6g")
    page = OUT / "README.md"
    text = page.read_text(encoding="utf-8").partition("<!-- tables -->")[0] if page.exists() else ""
    page.write_text(
        f"{text}<!-- tables -->\n## Every prompt\n\n{verdicts(found)}\n\n"
        f"## Waywardness\n\n{pulled(pulls)}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

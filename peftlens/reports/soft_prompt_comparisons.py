"""Figures of soft prompts beside their tables: task words, clusters, and prompts made of tokens."""

from collections.abc import Mapping

import pandas as pd

from peftlens.figures.spec import Axis, Plot
from peftlens.numerics.counts import counted
from peftlens.numerics.rounding import number
from peftlens.reports.prompt_rows import by_prompt, compared, prompt_plot, reference, trained
from peftlens.results.table import Table, last_steps, measured

_NULLS = ("random_directions", "steps", "untrained")  # of `vocabulary_clusters`
_TRAINED = "trained"  # prompt of `soft_prompt_faithfulness`


def task_word_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot the closeness of each prompt's words to those of its own and of other tasks."""
    frame = measured(tables["soft_prompt_task_words"].frame)
    if not {"own", "standardized", "task"} <= set(frame):  # of an earlier version
        return []
    frame = last_steps(frame[frame["position"].isna()]).dropna(subset=["standardized"])
    return [_task_words(rows) for rows in by_prompt(frame)] if len(frame) else []


def _task_words(rows: pd.DataFrame) -> Plot:
    own = rows[rows["own"].astype(bool)]
    others = rows.drop(own.index)
    related = int(own["related"].fillna(False).astype(bool).sum())
    tasks = list(others.groupby("task", sort=False))
    return prompt_plot(
        rows,
        title="Closeness of the prompt's words to words of tasks, in standard deviations of "
        "random rotations of the prompt",
        finding=f"{related} of {counted(len(own), 'prompt')} are closer to the words of their own "
        "task than chance (q at most 0.05).",
        x=Axis("closeness (standard deviations)"),
        series=[
            *(reference(part, part["standardized"], f"words of {task}", n)
              for n, (task, part) in enumerate(tasks)),
            *trained(own, "standardized", "words of its own task"),
        ],
    )  # fmt: skip


def cluster_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot the entropy of each prompt's vectors over clusters of the vocabulary, and its nulls."""
    frame = measured(tables["vocabulary_clusters"].frame)
    frame = last_steps(frame[frame["position"].isna()]).dropna(subset=["entropy"])
    return [_clusters(rows) for rows in by_prompt(frame)] if len(frame) else []


def _clusters(rows: pd.DataFrame) -> Plot:
    columns = {f"mean_{null}": null.replace("_", " ") for null in _NULLS}
    used = rows["clusters_used"].astype(float).median()
    return prompt_plot(
        rows,
        title="Entropy of each prompt's vectors over clusters of the vocabulary, and of vectors "
        "without training (0: all in one cluster)",
        finding=f"The vectors of a prompt lie in {used:.0f} clusters, in the median of "
        f"{counted(len(rows), 'prompt')}.",
        x=Axis("entropy (nats)"),
        series=[*compared(rows, columns), *trained(rows, "entropy")],
    )


def faithfulness_plots(tables: Mapping[str, Table]) -> list[Plot]:
    """Plot the accuracy with each prompt and with prompts of tokens; without accuracy, the loss."""
    frame = measured(tables["soft_prompt_faithfulness"].frame)
    whole = frame[frame["omitted_position"].isna()]
    scored = whole.dropna(subset=["accuracy"])
    if len(scored):
        scored = scored.assign(percent=100 * scored["accuracy"].astype(float))
        return [_faithfulness(rows, "percent", "accuracy (%)") for rows in by_prompt(scored)]
    losses = whole.dropna(subset=["loss"])
    if losses.empty:
        return []
    return [_faithfulness(rows, "loss", "loss (nats per token)") for rows in by_prompt(losses)]


def _faithfulness(rows: pd.DataFrame, column: str, axis: str) -> Plot:
    means = rows.astype({column: float}).groupby("prompt", sort=False)[column].mean()
    texts = (f"{kind} {number(float(f'{value:.3g}'))}" for kind, value in means.items())
    others = rows[rows["prompt"] != _TRAINED]
    return prompt_plot(
        rows,
        title=f"{axis.partition(' (')[0].capitalize()} with the trained prompt, and with other "
        "prompts in its place",
        finding=f"Mean {axis} by prompt: {', '.join(texts)}.",
        x=Axis(axis),
        series=[
            *(reference(part, part[column], str(kind), n)
              for n, (kind, part) in enumerate(others.groupby("prompt", sort=False))),
            *trained(rows[rows["prompt"] == _TRAINED], column, "trained prompt"),
        ],
    )  # fmt: skip

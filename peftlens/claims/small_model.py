"""On small models, full fine-tuning falls below zero-shot accuracy on unseen tasks.

Rule: the base's accuracy on questions of other tasks before training, and that of its fully
fine-tuned copies at the last step, paired over seeds and questions. The population are the
multiple-choice suites of `forgetting` that the model was not trained on, and training runs of one
task; the effect is the mean difference over all their questions. A base that guesses can't fall:
only suites count on which its zero-shot accuracy is above guessing (one-sided 0.025 over the
questions). Supported if fine-tuned copies are more than two points below zero-shot accuracy,
contradicted if not, each at one-sided 0.025. Full fine-tuning is at its best learning rate by
validation accuracy on the task it was trained on; at the edge of its grid it is not tuned, and
nothing is decided. Small models have fewer than 300 million parameters; larger ones don't count.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import (
    ONE_SIDED,
    Judgment,
    all_hold,
    difference_text,
    outcome_of,
    seeds,
)
from peftlens.numerics.counts import counted
from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.results.best_rates import chosen_rates, edge_text, untuned
from peftlens.results.comparable import sweep_values
from peftlens.results.comparisons import Comparison
from peftlens.results.sweep import sweep_names
from peftlens.results.table import last_steps

CLAIM = "On small models, full fine-tuning falls below zero-shot accuracy on unseen tasks."
SOURCE = "arXiv:2606.06920"
NEEDS = ("forgetting_items", "cost", "base_parameters", "configurations")
TO_MEASURE = (
    "train full over several seeds, each at four learning rates or more, on a base of fewer than "
    "300 million parameters, and measure the probe forgetting_items on questions of other tasks, "
    "and base_parameters"
)
CRITERION = "fine-tuned copies are over two points below zero-shot accuracy on other tasks"
PRACTICE = {
    "supported": "After full fine-tuning a small model, test the tasks it should still do.",
    "contradicted": (
        "At its best rate, full fine-tuning costs other tasks less than two points on average."
    ),
}
ANALYSIS = "small_model"
MARGIN = 0.02  # of accuracy
SMALL = 3e8  # parameters of the base


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge by the change of accuracy on questions that the base answers better than chance."""
    size = float(tables["base_parameters"].drop_duplicates("part")["parameters"].sum())
    if size >= SMALL:
        return Judgment(
            "not measured",
            f"The base has {size / 1e6:.0f} million parameters, and is not small.",
        )
    chosen = _full(tables)
    if chosen is None:
        return Judgment("not measured", "Full fine-tuning was not trained and scored.")
    name, rate, items = chosen
    task = sweep_values(tables)[name].get("task")
    suites = {str(suite): one for suite, one in items.groupby("suite") if suite != task}
    above = [suite for suite, one in suites.items() if _knows(one, alpha)]
    items = items[items["suite"].isin(above)]
    values = items.assign(change=items["right"].astype(float) - items["base_right"].astype(float))
    changes = values.pivot(index="seed", columns=["suite", "item"], values="change").dropna(axis=1)
    if not above or len(changes) < 2:
        return Judgment(
            "not measured",
            "The base does no better than guessing on every unseen task, so that it can't fall."
            if not above
            else "Full fine-tuning was trained with one seed at its best rate.",
        )
    change = crossed_estimate(changes)
    sentence = (
        f"On {', '.join(above)} the base of {size / 1e6:.0f} million parameters answers "
        f"{items['base_right'].astype(float).mean():.1%} right, after {name} "
        f"{items['right'].astype(float).mean():.1%}: {difference_text(change)} "
        f"({seeds(len(changes))}, {counted(changes.shape[1], 'question')})."
    )
    if loose := sorted(untuned({name: rate}, tables)):
        return Judgment("insufficient evidence", sentence + edge_text(loose))
    one = Comparison(
        what=f"accuracy after {name} against the base's",
        estimate=change,
        high=-MARGIN,
        effect=-2 * MARGIN,
        n_seeds=len(changes),
        n_items=changes.shape[1],
        configurations=(name,),
    )
    return Judgment(outcome_of(all_hold([one], alpha)), sentence, (one,))


def _full(tables: Mapping[str, pd.DataFrame]) -> tuple[str, float, pd.DataFrame] | None:
    """Return full fine-tuning's best configuration, its best rate, and the questions of its runs.

    Of several, such as with several numbers of steps, the one with the best validation accuracy.
    """
    questions = last_steps(tables["forgetting_items"]).dropna(subset=["base_right", "options"])
    costs, rates = tables["cost"], chosen_rates(tables)
    sweeps = costs["configuration"].map(sweep_names(tables))
    found = []
    for name, values in sweep_values(tables).items():
        if values["method"] != "full" or name not in rates:
            continue
        runs = costs[(sweeps == name) & (costs["learning_rate"].astype(float) == rates[name])]
        own = questions[questions["run"].isin(runs["run"])]
        if len(own):
            accuracy = float(runs["validation_accuracy"].astype(float).mean())
            found.append((accuracy, (name, rates[name], own)))
    return max(found, key=lambda one: one[0])[1] if found else None


def _knows(rows: pd.DataFrame, alpha: float) -> bool:
    """Return whether the base answers a suite's questions better than by guessing."""
    once = rows.drop_duplicates("item")
    above = once["base_right"].astype(float) - 1 / once["options"].astype(float)
    return len(once) > 1 and crossed_estimate(above.to_numpy()[None]).p_above(0) <= alpha

"""Changes of each retention item from the base to the tuned model, over seeds and items.

Forgetting is a loss per token: a ratio of sums over texts of different length. The change of a text
is therefore the ratio plus the text's deviation from it, (d - R t) / mean(t) with its loss
difference d, its tokens t and the ratio R: the mean over texts is R, and their variance that of R
(Cochran 1977, Sampling Techniques, section 2.11). It is linear in d, so interpolations between
steps and differences between runs keep both properties.
"""

import pandas as pd


def item_changes(items: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `forgetting`, of texts, and `accuracy_change`, of questions.

    Args:
        items: rows of `forgetting_items`, of one or several runs.

    Returns:
        The rows with two more columns: nats per token, missing for questions; and 1, 0 or -1,
        missing for texts.
    """
    values = items[["base_loss", "loss", "tokens", "base_right", "right"]].astype(float)
    change, tokens = values["loss"] - values["base_loss"], values["tokens"]
    suites = [items["run"], items["step"], items["suite"]]
    mean = tokens.groupby(suites).transform("mean")
    ratio = change.groupby(suites).transform("mean") / mean
    return items.assign(
        forgetting=ratio + (change - ratio * tokens) / mean,
        accuracy_change=values["right"] - values["base_right"],
    )


def by_seed(changes: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Arrange the changes of one suite at one step of each run as (seeds, items).

    Args:
        changes: rows of `item_changes`, with the runs' seeds.
        measure: forgetting or accuracy_change.
    """
    return changes.groupby(["seed", "item"])[measure].mean().unstack()

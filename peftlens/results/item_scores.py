"""Score of each test example, between 0 and 1, from the table `task_items`."""

import pandas as pd


def item_scores(items: pd.DataFrame) -> pd.Series:
    """Return the score of each row: 1 for the right one of several answers, or of a written answer.

    Args:
        items: rows of `task_items`; those of earlier versions have no column `score`.

    Returns:
        One float per row; NaN where an example has no score, such as a text.
    """
    right = (items["chosen"] == items["correct"]).astype(float).where(items["chosen"].notna())
    if "score" not in items:
        return right
    return items["score"].astype(float).fillna(right)

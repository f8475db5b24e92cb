import numpy as np
import pandas as pd
import pytest

from peftlens.results.item_scores import item_scores


def test_choices_are_right_or_wrong_and_texts_have_no_score():
    items = pd.DataFrame({"chosen": [1, 0, None], "correct": [1, 1, None]})
    assert item_scores(items).tolist() == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)


def test_written_answers_have_their_score():
    items = pd.DataFrame(
        {"chosen": [None, None, 1], "correct": [None, None, 1], "score": [0.25, None, None]}
    )
    assert item_scores(items).tolist() == pytest.approx([0.25, np.nan, 1.0], nan_ok=True)

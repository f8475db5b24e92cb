import pandas as pd
import pytest

from peftlens.claims import task_words


def table(labels, typical):
    return {
        "soft_prompt_task_words": pd.DataFrame(
            [
                {"run": f"r{run}", "step": 9, "words": words, "position": position, "q": q,
                 "related": q <= 0.05}
                for run in range(6) for words, q in (("labels", labels), ("typical", typical))
                for position in (0, None)
            ]
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "typical", "outcome"),
    [
        (0.001, 0.9, "supported"),
        (0.9, 0.02, "supported"),
        (0.04, 0.9, "contradicted"),  # two sets of words: 0.025 each
    ],
)
def test_one_of_the_sets_is_enough_at_half_the_level(labels, typical, outcome):
    found, sentence = task_words.verdict(table(labels, typical))
    assert found == outcome
    assert f"{100 * (labels <= 0.05):.0f}% to the labels" in sentence

import pytest
from charts import rows

from peftlens.claims.prompt_length import verdict


def table(width=0.005, **accuracies):
    return rows(
        {f"prompt_tuning num_virtual_tokens={name[1:]}": {"accuracy": accuracy, "width": width}
         for name, accuracy in accuracies.items()}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "outcome"),
    [
        ({"n1": 0.5, "n20": 0.8, "n200": 0.8}, "supported"),
        ({"n20": 0.8, "n150": 0.81, "n200": 0.79}, "supported"),
        ({"n20": 0.7, "n100": 0.7, "n200": 0.8}, "contradicted"),
        ({"n100": 0.8, "n150": 0.8, "n200": 0.9}, "contradicted"),
        ({"n20": 0.8, "n200": 0.82}, "insufficient evidence"),
        ({"n1": 0.8, "n20": 0.8, "n100": 0.9}, "not measured"),
        ({"n5": 0.8, "n200": 0.8}, "not measured"),
    ],
)
def test_what_longer_prompts_gain_decides(accuracies, outcome):
    assert verdict(table(**accuracies))[0] == outcome


def test_wide_intervals_decide_nothing_and_say_what_they_would_see():
    found, sentence, _ = verdict(table(width=0.05, n20=0.8, n200=0.8))
    assert found == "insufficient evidence"
    # (1.96 + 0.84) standard errors of 5 / 1.96 points
    assert "200 tokens have +0.0 points, -5.0 to +5.0 (a difference of 7.1 points" in sentence


def test_the_best_on_validation_examples_is_compared_and_not_the_best_on_the_test():
    name = "prompt_tuning num_virtual_tokens="
    found, sentence, _ = verdict(
        rows(
            {
                f"{name}20": {"accuracy": 0.7, "validation_accuracy": 0.9},
                f"{name}100": {"accuracy": 0.8},
                f"{name}200": {"accuracy": 0.8},
            }
        )
    )
    assert found == "contradicted"
    assert "20 have the best validation accuracy" in sentence


def test_the_default_length_is_read():
    _, sentence, _ = verdict(
        rows({"prompt_tuning": {}, "prompt_tuning num_virtual_tokens=200": {}})
    )
    assert "Of 20 to 100 tokens, 20 have" in sentence


def test_lengths_of_different_seeds_are_not_compared():
    found = table(n20=0.8, n200=0.8)
    found["paired_accuracy"]["difference"] = None
    assert verdict(found)[:2] == (
        "not measured", "All lengths must be trained with the same seeds."
    )  # fmt: skip


def test_prompts_that_differ_in_more_than_their_length_are_not_compared():
    given = {"prompt_tuning init=random num_virtual_tokens=200": {}, "prompt_tuning": {}}
    assert verdict(rows(given))[0] == "not measured"

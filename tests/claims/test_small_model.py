import numpy as np
import pandas as pd
import pytest
import simulated_studies as simulated

from peftlens.claims.small_model import verdict


def questions(rng, suite, runs, before, after, n):
    """Answers of the base, the same for all runs, and of the runs: each its own."""
    difficulty = rng.uniform(0, 1, n)
    rows = []
    for run in runs:
        moved = difficulty + rng.normal(0, 0.1, n)
        rows.append(
            pd.DataFrame(
                {"run": run["run"], "configuration": run["configuration"], "seed": run["seed"],
                 "step": 100, "suite": suite, "item": range(n), "options": 4.0,
                 "base_right": (difficulty < before).astype(float),
                 "right": (moved < after).astype(float)}
            )
        )  # fmt: skip
    return rows


def tables(change, before=0.6, rng=None, n=600, names=("full",), suites=("piqa",), **options):
    rng = rng or np.random.default_rng(0)
    one = simulated.study(dict.fromkeys(names, 0.7), **options)
    runs = one["cost"].to_dict("records")
    frames = [
        frame
        for suite in suites
        for frame in questions(rng, suite, runs, before, before + change, n)
    ]
    return one | {"forgetting_items": pd.concat(frames)}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (-0.08, "supported"),
        (0.0, "contradicted"),
        (0.05, "contradicted"),
        (-0.02, "insufficient evidence"),
    ],
)
def test_two_points_decide(change, outcome):
    assert verdict(tables(change, n=2000))[0] == outcome


def test_the_sentence_has_both_accuracies():
    _, sentence, _ = verdict(tables(-0.08))
    assert sentence.startswith("On piqa the base of 130 million parameters answers 5")
    assert sentence.endswith("(6 seeds, 600 questions).")


def test_only_the_best_rate_and_the_last_step_count():
    one = tables(-0.08)
    rows = one["forgetting_items"]
    other = ~rows["configuration"].str.endswith("=0.001")
    rows.loc[other, "right"] = 1.0
    early = rows.assign(step=0, right=1.0)
    one["forgetting_items"] = pd.concat([early, rows])
    assert verdict(one)[0] == "supported"


def test_a_base_that_guesses_cannot_fall():
    found, sentence, _ = verdict(tables(-0.2, before=0.25))
    assert found == "not measured"
    assert sentence.startswith("The base does no better than guessing")


def test_suites_that_are_guessed_do_not_count():
    one = tables(-0.08, suites=("piqa", "openbookqa"))
    rows = one["forgetting_items"]
    rows.loc[rows["suite"] == "openbookqa", ["base_right", "right"]] = 0.0
    found, sentence, _ = verdict(one)
    assert found == "supported"
    assert sentence.startswith("On piqa the base")


def test_the_task_of_the_training_is_not_unseen():
    assert verdict(tables(-0.08, suites=("bbc_topic",)))[0] == "not measured"


def test_texts_are_no_questions():
    one = tables(-0.08)
    one["forgetting_items"][["base_right", "right", "options"]] = None
    assert verdict(one)[0] == "not measured"


def test_a_large_base_is_not_what_the_claim_is_about():
    one = tables(-0.08)
    one["base_parameters"]["parameters"] *= 3
    found = verdict(one)[:2]
    assert found == ("not measured", "The base has 390 million parameters, and is not small.")


def test_other_methods_do_not_count():
    assert verdict(tables(-0.08, names=("lora",)))[0] == "not measured"


def test_one_seed_is_not_measured():
    assert verdict(tables(-0.08, seeds=1))[0] == "not measured"


def test_a_best_rate_at_the_edge_decides_nothing():
    assert verdict(tables(-0.08, at_edge=["full"]))[0] == "insufficient evidence"


def test_decisions_in_simulated_studies():
    one = tables(0.0)
    runs = one["cost"][one["cost"]["learning_rate"] == 1e-3].to_dict("records")

    def draw(change):
        def answers(rng):
            rows = questions(rng, "piqa", runs, 0.6, 0.6 + change, 400)
            return one | {"forgetting_items": pd.concat(rows)}

        return answers

    assert simulated.outcomes(verdict, draw(-0.1), 10)["supported"] >= 0.9
    assert simulated.outcomes(verdict, draw(0.05), 10)["contradicted"] >= 0.9
    assert max(simulated.outcomes(verdict, draw(-0.02)).values()) <= 0.05

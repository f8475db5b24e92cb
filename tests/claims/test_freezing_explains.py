import numpy as np
import pandas as pd
import pytest

from peftlens.claims import freezing_explains, judge

TASKS, N = ("a", "b", "c"), 300


def right(share, rng):
    """Answers of which exactly this share is right."""
    answers = np.zeros(N, int)
    answers[rng.permutation(N)[: round(share * N)]] = 1
    return answers


def sequence(method, forgets, seed, learns=0.9, setting=None, noise=0.01):
    """Three runs, one after the other; each earlier task loses a share of answers once."""
    rng = np.random.default_rng(seed + len(method))
    parts, name = [], setting or method
    know = {task: right(learns, rng) for task in TASKS}
    for place, trained in enumerate(TASKS):
        for at, task in enumerate(TASKS):
            answers = know[task].copy() if at <= place else right(0.5, rng)
            if at < place:
                lost = np.flatnonzero(answers)
                share = max(forgets + (noise * rng.standard_normal() if forgets else 0), 0)
                answers[rng.permutation(lost)[: round(share * N)]] = 0
            parts.append(
                pd.DataFrame(
                    {
                        "run": f"{name}{seed}{trained}",
                        "method": method,
                        "shared_configuration": name,
                        "seed": seed,
                        "trained_on": trained,
                        "continue_from": f"{name}{seed}{TASKS[place - 1]}" if place else None,
                        "task": task,
                        "item": np.arange(N),
                        "right": answers,
                        "base_right": right(0.5, rng),
                        "majority_right": np.nan,
                    }
                )
            )
    return parts


def table(n_seeds=5, **forgets):
    return pd.concat(
        [
            part
            for method, share in forgets.items()
            for seed in range(n_seeds)
            for part in sequence(method, share, seed)
        ],
        ignore_index=True,
    )


def verdict(rows):
    return freezing_explains.verdict({"sequence_items": rows})


@pytest.mark.parametrize(
    ("forgets", "outcome"),
    [
        ({"full": 0.2, "lora": 0.003, "head": 0}, "supported"),
        ({"full": 0.2, "lora": 0.1, "head": 0}, "contradicted"),  # LoRA forgets what frozen don't
        ({"full": 0, "lora": 0.05, "head": 0}, "contradicted"),  # and more than full fine-tuning
        ({"full": 0.2, "lora": 0.025, "head": 0}, "insufficient evidence"),  # about the margin
        ({"full": 0, "lora": 0, "head": 0}, "insufficient evidence"),  # nobody forgets
    ],
)
def test_outcomes(forgets, outcome):
    found, sentence, _ = verdict(table(**forgets))
    assert found == outcome, sentence
    assert "5 seeds, 300 examples or more per task" in sentence


def test_one_of_three_that_fails_is_corrected_for_three():
    """A difference beyond the margin with a one-sided p between 0.0083 and 0.025."""
    found = table(full=0.2, lora=0.045, head=0)
    rows = freezing_explains.verdict({"sequence_items": found}).comparisons
    p = rows[2].fails
    level = 2 * p  # alone it would decide
    assert freezing_explains.verdict({"sequence_items": found}, level)[0] == "insufficient evidence"
    assert freezing_explains.verdict({"sequence_items": found}, 3.01 * p)[0] == "contradicted"


def test_the_numbers():
    """Forgetting is counted by hand: the share that was right after training and no longer is."""
    rows = table(full=0.2, lora=0.003, head=0)
    _, sentence, _ = verdict(rows)
    full = rows[rows["method"] == "full"].groupby(["trained_on", "task"])["right"].mean()
    expected = np.mean([full[task, task] - full["c", task] for task in ("a", "b")])
    assert f"full learns 90% and forgets {100 * expected:+.1f} points" in sentence
    assert "head learns 90% and forgets +0.0 points, +0.0 to +0.0" in sentence
    assert f"head minus full {-100 * expected:+.1f} points" in sentence


def test_the_configuration_that_learns_best_counts():
    rows = table(full=0.2, lora=0.1, head=0)
    better = [
        part
        for seed in range(5)
        for part in sequence("lora", 0.003, seed, learns=0.95, setting="lora rank=4")
    ]
    found, sentence, _ = verdict(pd.concat([rows, *better]))
    assert found == "supported"
    assert "lora rank=4 learns 95%" in sentence


def test_what_is_missing():
    assert verdict(table(full=0.2, head=0))[:2] == (
        "not measured",
        "No sequence of tasks was trained by lora.",
    )
    found, sentence, _ = verdict(table(1, full=0.2, lora=0, head=0))
    assert (found, sentence) == ("not measured", "The three methods share fewer than two seeds.")
    (one,) = [one for one in judge({}) if one.claim == "freezing_explains"]
    assert one.outcome == "not measured"
    assert one.sentence.endswith("over several seeds.")

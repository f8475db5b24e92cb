import numpy as np
import pandas as pd
import pytest

from peftlens.numerics.continual_metrics import (
    ONE,
    SWAPPED,
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    sequences,
)

# The first task falls from 0.9 to 0.6 and comes back to 0.7; the second goes 0.4 (before it is
# trained), 0.8, 0.5; the third 0.1, 0.3, 0.9.
R = [[0.9, 0.4, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 0.9]]
B = [0.5, 0.5, 0.2]


def test_measures_of_a_hand_worked_matrix():
    assert average_accuracy(R) == pytest.approx((0.7 + 0.5 + 0.9) / 3)
    assert backward_transfer(R) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert forward_transfer(R, B) == pytest.approx(((0.4 - 0.5) + (0.3 - 0.2)) / 2)
    assert forgetting(R) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)


def test_a_second_matrix_in_which_training_later_tasks_helps():
    r = [[0.5, 0.6, 0.4], [0.7, 0.7, 0.5], [0.8, 0.9, 0.6]]
    assert average_accuracy(r) == pytest.approx(2.3 / 3)
    assert backward_transfer(r) == pytest.approx((0.3 + 0.2) / 2)
    assert forward_transfer(r, [0.1, 0.2, 0.3]) == pytest.approx((0.4 + 0.2) / 2)
    assert forgetting(r) == pytest.approx(((0.7 - 0.8) + (0.7 - 0.9)) / 2)


def test_the_best_score_may_lie_before_the_task_was_trained():
    r = [[0.9, 0.8, 0.1], [0.9, 0.6, 0.1], [0.9, 0.5, 0.9]]
    assert forgetting(r) == pytest.approx((0.0 + 0.3) / 2)


@pytest.mark.parametrize("bad", [[[1.0]], [[1, 2]], [1, 2]])
def test_what_is_no_matrix_of_tasks_is_refused(bad):
    with pytest.raises(ValueError, match="at least two tasks"):
        backward_transfer(bad)


def rows(seed=0):
    """One sequence of two tasks: a, then b after it; and b alone."""
    scores = {"a1": ("a", None, 0.9, 0.4), "b1": ("b", "a1", 0.6, 0.8), "b0": ("b", None, 0.3, 0.7)}
    return pd.DataFrame(
        [
            {
                "run": f"{run}{seed}",
                "shared_configuration": "lora",
                "seed": seed,
                "trained_on": trained,
                "continue_from": after and f"{after}{seed}",
                "task": task,
                "accuracy": accuracy,
                "base_accuracy": {"a": 0.5, "b": 0.45}[task],
                "n_items": {"a": 30, "b": 20}[task],
            }
            for run, (trained, after, *both) in scores.items()
            for task, accuracy in zip("ab", both, strict=True)
        ]
    )


def test_both_regimes_are_read_off_the_runs():
    one, swapped = sequences(rows())
    assert (one.regime, swapped.regime) == (ONE, SWAPPED)
    assert one.tasks == swapped.tasks == ("a", "b")
    np.testing.assert_allclose(one.scores, [[0.9, 0.4], [0.6, 0.8]])
    np.testing.assert_allclose(swapped.scores, [[0.9, 0.45], [0.9, 0.7]])
    np.testing.assert_allclose(one.untrained, [0.5, 0.45])
    assert one.n_items == 20
    assert forgetting(swapped.scores) == backward_transfer(swapped.scores) == 0


def test_every_seed_is_a_sequence():
    found = list(sequences(pd.concat([rows(0), rows(1)])))
    assert [(one.seed, one.regime) for one in found] == [
        (0, ONE), (0, SWAPPED), (1, ONE), (1, SWAPPED)
    ]  # fmt: skip


def test_a_sequence_that_broke_off_is_left_out():
    table = rows()
    assert not list(sequences(table[table["run"] != "b10"]))


def test_one_task_is_no_sequence():
    table = rows()
    assert not list(sequences(table[(table["run"] == "a10") & (table["task"] == "a")]))

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sequence_answers import sequence_answers

from peftlens.numerics.continual_metrics import (
    ONE,
    SWAPPED,
    TaskSequence,
    average_accuracy,
    backward_transfer,
    difference,
    estimate,
    forgetting,
    forward_transfer,
    learning_accuracy,
    sequences,
    sum_of_means,
)
from peftlens.numerics.mixed_model import crossed_estimate

# The untrained scores, then: the first task falls from 0.9 to 0.6 and comes back to 0.7; the second
# goes 0.4 (before it is trained), 0.8, 0.5; the third 0.1, 0.3, 0.9.
R = np.array([[0.5, 0.5, 0.2], [0.9, 0.4, 0.1], [0.6, 0.8, 0.3], [0.7, 0.5, 0.9]])


def value(weigh, r):
    return (weigh(r) * r).sum()


def test_measures_of_a_hand_worked_matrix():
    assert value(average_accuracy, R) == pytest.approx((0.7 + 0.5 + 0.9) / 3)
    assert value(backward_transfer, R) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)
    assert value(forward_transfer, R) == pytest.approx(((0.4 - 0.5) + (0.3 - 0.2)) / 2)
    assert value(forgetting, R) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)


def test_learning_accuracy_is_the_diagonal():
    assert value(learning_accuracy, R) == pytest.approx((0.9 + 0.8 + 0.9) / 3)


def test_a_second_matrix_in_which_training_later_tasks_helps():
    r = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.4], [0.7, 0.7, 0.5], [0.8, 0.9, 0.6]])
    assert value(average_accuracy, r) == pytest.approx(2.3 / 3)
    assert value(backward_transfer, r) == pytest.approx((0.3 + 0.2) / 2)
    assert value(forward_transfer, r) == pytest.approx((0.4 + 0.2) / 2)
    assert value(forgetting, r) == pytest.approx(((0.7 - 0.8) + (0.7 - 0.9)) / 2)


def test_the_best_score_may_lie_before_the_task_was_trained():
    r = np.array([[0.9, 0.9, 0.9], [0.9, 0.8, 0.1], [0.9, 0.6, 0.1], [0.9, 0.5, 0.9]])
    assert value(forgetting, r) == pytest.approx((0.0 + 0.3) / 2)


@pytest.mark.parametrize("bad", [[[1.0], [1.0]], [[1, 2]], [1, 2], [[1, 2], [3, 4]]])
def test_what_is_no_matrix_of_tasks_is_refused(bad):
    with pytest.raises(ValueError, match="at least two tasks"):
        backward_transfer(bad)


# Answers of the base and of three runs: a, then b after it; and b alone. Two items of a, four of b.
BASE = {"a": [1, 0], "b": [1, 0, 0, 0]}
ANSWERS = (
    ("a1", "a", None, {"a": [1, 1], "b": [0, 0, 1, 0]}),
    ("b1", "b", "a1", {"a": [0, 1], "b": [1, 1, 1, 0]}),
    ("b0", "b", None, {"a": [0, 0], "b": [1, 1, 0, 0]}),
)


def rows(seed=0):
    return pd.DataFrame(sequence_answers(ANSWERS, BASE, seed))


def test_both_regimes_are_read_off_the_runs():
    one, swapped = sequences(rows())
    assert (one.regime, swapped.regime) == (ONE, SWAPPED)
    assert one.tasks == swapped.tasks == ("a", "b")
    np.testing.assert_allclose(one.scores, [[0.5, 0.25], [1, 0.25], [0.5, 0.75]])
    np.testing.assert_allclose(swapped.scores, [[0.5, 0.25], [1, 0.25], [1, 0.5]])
    # before b has an adapter it is answered by the base, item by item
    assert swapped.right[1].loc["b"].tolist() == BASE["b"]
    assert one.n_items == 2
    assert value(forgetting, swapped.scores) == value(backward_transfer, swapped.scores) == 0


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


def sequence(order, seed, rng, n_items=(6, 9, 7)):
    """A sequence of three tasks with random answers, in some order."""
    index = [(task, item) for task, n in zip("abc", n_items, strict=True) for item in range(n)]
    right = pd.DataFrame(
        rng.integers(0, 2, (len(index), 4)).astype(float),
        index=pd.MultiIndex.from_tuples(index, names=["task", "item"]),
    )
    return TaskSequence("lora", ONE, seed, tuple(order), right)


@pytest.mark.parametrize(
    "weigh", [average_accuracy, backward_transfer, forward_transfer, forgetting]
)
def test_the_estimate_is_the_mean_over_seeds_of_the_metric_in_each_ones_order(weigh):
    rng = np.random.default_rng(0)
    members = [sequence(order, seed, rng) for seed, order in enumerate(("abc", "cab", "bca"))]
    expected = np.mean([value(weigh, one.scores) for one in members])
    assert estimate(members, weigh).value == pytest.approx(expected)


def test_a_difference_is_paired_by_seed_and_item():
    """Of two tasks the first alone can be forgotten: the differences of its items' changes."""
    rng = np.random.default_rng(3)
    index = pd.MultiIndex.from_product([("a", "b"), range(8)], names=["task", "item"])

    def members(seeds):
        values = {seed: rng.integers(0, 2, (16, 3)).astype(float) for seed in seeds}
        return [
            TaskSequence("lora", ONE, seed, ("a", "b"), pd.DataFrame(one, index=index))
            for seed, one in values.items()
        ]

    ones, others = members((0, 1, 2)), members((2, 0, 1))
    by_seed = {one.seed: one for one in others}
    changes = [
        (one.right[2] - one.right[1] - by_seed[one.seed].right[2] + by_seed[one.seed].right[1])["a"]
        for one in ones
    ]
    found = difference(ones, others, backward_transfer)
    assert vars(found) == pytest.approx(vars(crossed_estimate(changes)))


def test_of_one_task_it_is_the_crossed_estimate():
    values = np.random.default_rng(0).normal(size=(3, 20))
    assert vars(sum_of_means(values, ["a"] * 20)) == pytest.approx(vars(crossed_estimate(values)))


def test_variances_of_the_tasks_means_add_up():
    """One seed: the textbook variance of a stratified mean."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, 8), rng.normal(-3, 4, 30)
    found = sum_of_means(np.concatenate([a, b])[None], ["a"] * 8 + ["b"] * 30)
    assert found.value == pytest.approx(a.mean() + b.mean())
    variance = a.var(ddof=1) / 8 + b.var(ddof=1) / 30
    assert found.standard_error == pytest.approx(variance**0.5)


def test_what_a_seed_adds_to_one_task_and_takes_from_another_is_no_noise():
    rng = np.random.default_rng(2)
    shift = np.array([[-1.0], [0.0], [1.0]])  # (seeds, 1)
    items = rng.normal(size=200)
    apart = np.hstack([items[:100] + shift, items[100:] - shift])
    alike = np.hstack([items[:100] + shift, items[100:] + shift])
    tasks = ["a"] * 100 + ["b"] * 100
    assert sum_of_means(apart, tasks).standard_error < 0.2
    assert sum_of_means(alike, tasks).standard_error > 2 / 3**0.5


def test_a_task_of_one_item_gives_no_interval():
    found = sum_of_means([[1, 0, 1], [1, 1, 1]], ["a", "a", "b"])
    assert (found.value, found.low, found.high) == (1.75, None, None)


# METRICS.md, section 5: variances of one trained score or of its difference from the base's.
ITEM, RESIDUAL, N_STUDIES = 0.13, 0.066, 1000


def covered(values, found):
    """Share of studies whose interval includes the true mean of zero."""
    return np.mean([one.low <= 0 <= one.high for one in map(found, values)])


def studies(seed_sd, n_items, rng):
    """Differences of accuracy of many studies, shape (studies, 3 seeds, items)."""
    seed = rng.normal(0, seed_sd, (N_STUDIES, 3, 1))
    item = rng.normal(0, ITEM**0.5, (N_STUDIES, 1, n_items))
    return seed + item + rng.normal(0, RESIDUAL**0.5, (N_STUDIES, 3, n_items))


def over_seeds_alone(values):
    """Share of studies whose Student's t interval of the seeds' totals includes zero."""
    half = t.ppf(0.975, 2) * values.std(axis=1, ddof=1) / 3**0.5
    return np.mean(np.abs(values.mean(axis=1)) <= half)


@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.02])
def test_coverage_of_a_difference_over_3_seeds_and_100_items(seed_sd):
    values = studies(seed_sd, 100, np.random.default_rng(3))
    assert over_seeds_alone(values.mean(axis=2)) < 0.85
    assert 0.93 <= covered(values, lambda one: sum_of_means(one, ["a"] * 100)) <= 0.98


def test_coverage_of_a_metric_of_three_tasks_whose_seeds_covary():
    """BWT of tasks a, b, c in sequence: c has no weight; a and b fall together with the seed."""
    rng = np.random.default_rng(4)
    values = studies(0.02, 300, rng) / 2
    values[:, :, 200:] = 0
    tasks = np.repeat(["a", "b", "c"], 100)
    totals = values.reshape(N_STUDIES, 3, 3, 100).mean(axis=3).sum(axis=2)
    assert over_seeds_alone(totals) < 0.85
    assert 0.93 <= covered(values, lambda one: sum_of_means(one, tasks)) <= 0.98

import numpy as np

from peftlens.vocab.verdicts import majority, verdicts


def test_both_tests_of_all_vectors_are_one_family():
    # p of 0.03 among 4 tests is 0.12 by Benjamini and Hochberg's first step
    words, q = verdicts(np.full(2, 0.01), np.array([0.03, 1.0]), np.ones(2), np.zeros(2, bool))
    assert words == ["not distinguishable from noise"] * 2
    assert q[0] == 0.12


def test_a_vector_that_has_not_moved_has_no_displacement():
    words, q = verdicts(np.ones(1), np.ones(1), np.array([np.nan]), np.array([True]))
    assert (words, q.tolist()) == (["start kept"], [1])


def test_a_prompt_is_what_most_of_its_vectors_are():
    q = np.array([0.01, 0.02, 0.5])
    assert majority(["readable", "readable", "start kept"], q) == ("readable", 0.02)
    assert majority(["readable", "displacement readable", "start kept"], q)[0] == (
        "displacement readable"
    )
    assert majority(["start kept", "start kept", "readable"], q)[0] == "start kept"

import numpy as np
import pandas as pd
import pytest

from peftlens.claims import judge, swap


def table(
    gains, method="lora", continue_from=None, base=0.5, majority=None, n_items=200, changed=0.1
):
    """Answers of 3 seeds' adapters of tasks a and b, which gain this much over the base.

    The base answers the first examples right, the most frequent class is right for the last ones.
    Each seed loses a share `changed` of right answers, and gains as many and its gain.
    """
    rng, items = np.random.default_rng(0), np.arange(n_items)
    base_right = items < round(base * n_items)
    shared = {"method": method, "shared_configuration": method, "continue_from": continue_from}
    parts = []
    for seed in range(3):
        for trained, gain in zip("ab", gains, strict=True):
            lost, gained = round(changed * n_items), round((changed + gain) * n_items)
            right = base_right.copy()
            right[rng.choice(np.flatnonzero(base_right), lost, replace=False)] = False
            right[rng.choice(np.flatnonzero(~base_right), gained, replace=False)] = True
            parts += [
                pd.DataFrame(
                    {
                        "run": f"{method}{trained}{seed}",
                        "seed": seed,
                        "trained_on": trained,
                        "task": task,
                        "item": items,
                        "right": (right if task == trained else base_right).astype(int),
                        "base_right": base_right.astype(int),
                        "majority_right": np.nan
                        if majority is None
                        else (items >= round((1 - majority) * n_items)).astype(float),
                        **shared,
                    }
                )
                for task in "ab"
            ]
    return {"sequence_items": pd.concat(parts, ignore_index=True)}


def several(*tables):
    return {"sequence_items": pd.concat([one["sequence_items"] for one in tables])}


@pytest.mark.parametrize(
    ("gains", "outcome"),
    [
        ((0.2, 0.3), "supported"),
        ((0.2, -0.01), "insufficient evidence"),
        ((0.2, -0.1), "contradicted"),
    ],
)
def test_every_task_must_gain(gains, outcome):
    found, sentence, _ = swap.verdict(table(gains))
    assert found == outcome
    assert "lora (a +20.0 points" in sentence
    assert "over the base's 50%" in sentence
    (found,) = [one for one in judge(table(gains), names=["swap"])]
    assert ("seeds would decide" in found.sentence) == (outcome == "insufficient evidence")


def test_a_base_with_one_answer_is_no_baseline_below_the_class_share():
    """It gains 12 points on a base of 44 %, and none on the 56 % of the other answer."""
    assert swap.verdict(table((0.12, 0.12), base=0.44))[0] == "supported"
    found, sentence, _ = swap.verdict(table((0.12, 0.12), base=0.44, majority=0.56))
    assert found == "insufficient evidence"
    assert "a +0.0 points" in sentence
    assert "over the most frequent class's 56%" in sentence


def test_equal_seeds_of_few_items_are_no_evidence():
    """The seeds agree on 2 items of 20: their means alone have an interval of no width."""
    rows = table((0.1, 0.1), n_items=20)["sequence_items"]
    first = rows[rows["seed"] == 0]
    equal = pd.concat([first.assign(run=first["run"] + str(n), seed=n) for n in range(3)])
    assert swap.verdict({"sequence_items": equal})[0] == "insufficient evidence"


def test_holm_over_configurations():
    """A gain with a two-sided p of 0.019 decides alone, but not as one of nine."""
    one = table((0.1, 0.2), n_items=100)
    assert swap.verdict(one)[0] == "supported"
    others = [table((0.0, 0.2), method=f"lora{n}", n_items=100) for n in range(8)]
    assert swap.verdict(several(one, *others))[0] == "insufficient evidence"


def test_one_configuration_that_holds_supports_and_all_must_fail_to_contradict():
    good, bad = table((0.2, 0.3)), table((0.2, -0.1), method="prompt_tuning")
    assert swap.verdict(several(good, bad))[0] == "supported"
    unclear = table((0.2, 0.0), method="ia3")
    assert swap.verdict(several(unclear, bad))[0] == "insufficient evidence"
    assert swap.verdict(several(bad, table((-0.1, 0.2))))[0] == "contradicted"


@pytest.mark.parametrize("changes", [{"method": "full"}, {"continue_from": "x"}])
def test_what_is_no_adapter_of_its_own_does_not_count(changes):
    found, _, _ = swap.verdict(table((0.2, 0.3), **changes))
    assert found == "not measured"


def test_one_seed_decides_nothing():
    rows = table((0.2, 0.3))["sequence_items"]
    assert swap.verdict({"sequence_items": rows[rows["seed"] == 0]})[0] == "not measured"


def test_an_older_study_has_no_answers_to_single_examples():
    scores = pd.DataFrame({"run": ["x"], "status": ["measured"], "accuracy": [0.5]})
    (found,) = [one for one in judge({"sequence_scores": scores}) if one.claim == "swap"]
    assert found.outcome == "not measured"
    assert "sequence_items" in found.sentence

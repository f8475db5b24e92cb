"""Rules on tables of one adapter, each with rows that it must name and rows that it must not."""

import pandas as pd
import pytest

from peftlens.inspection import findings


def weights(**columns):
    """Four weights of two kinds, as the probe `adapter_weights` has them."""
    usual = {
        "module": ["l.0.q", "l.1.q", "l.0.v", "l.1.v"], "role": ["q", "q", "v", "v"],
        "tensors": 2, "n_values": 10, "zero": 0, "not_finite": 0, "rank": 8, "norm": 1.0, "k95": 7,
    }  # fmt: skip
    return {"adapter_weights": pd.DataFrame(usual | columns)}


def vectors(**columns):
    usual = {
        "position": [0, 1, 2], "norm": [1.0, 1.1, 0.9], "cosine": [0.1, 0.2, 0.1],
        "mean_cosine": [0.1, 0.1, 0.1], "directions": 2.9,
    }  # fmt: skip
    return {"adapter_vectors": pd.DataFrame(usual | columns)}


def spectrum(*relative):
    return {
        "delta_spectrum": pd.DataFrame({"weight": ["a.weight"] * len(relative),
                                        "relative_norm": relative})
    }  # fmt: skip


def lost(**row):
    missing = dict.fromkeys(("forgetting", "ci_low", "ci_high"))
    missing |= dict.fromkeys(("accuracy_change", "accuracy_ci_low", "accuracy_ci_high"))
    return {"forgetting": pd.DataFrame([missing | {"suite": "s"} | row])}


def probed(low, change, high):
    row = {"suite": "s", "accuracy_change": change, "accuracy_ci_low": low,
           "accuracy_ci_high": high}  # fmt: skip
    return {"linear_probes": pd.DataFrame([row])}


def survival(*verdicts, text="general"):
    numbers = {"agreement": 0.25, "ci_low": 0.2, "ci_high": 0.3, "kl": 0.5, "kl_without_update": 1}
    rows = [{"precision": "nf4", "text": text, "verdict": one} | numbers for one in verdicts]
    return {"update_survival": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("tables", "severity", "text"),
    [
        (weights(not_finite=[0, 1, 0, 2]), "broken", "3 tensors hold NaN .*: l.1.q, l.1.v"),
        (weights(norm=0.0), "broken", "has not been trained"),
        (weights(norm=None, zero=2), "broken", "Every number is zero"),
        (weights(norm=[1, 0, 1, 1]), "warning", "1 of 4 weights have an update of zero: l.1.q"),
        (
            weights(role="q", norm=[1, 1, 40, 1]),
            "warning",
            "1 weights have an update more than 10 .*: l.0.v",
        ),
        (weights(rank=64, k95=[2, 3, 2, 3]), "warning", "Of 64 directions 2 hold .*--rank 3"),
        (weights(), "ok", "Of 8 directions 7 hold 95 %"),
        (weights(), "ok", "All 4 adapted weights have an update"),
        (vectors(norm=0.0), "broken", "3 of 3 vectors are zero"),
        (vectors(norm=[1, 0, 1]), "warning", "1 of 3 vectors are zero"),
        (
            vectors(cosine=[1.0, 1.0, 0.1]),
            "warning",
            "2 of 3 vectors have the same direction .*: 0, 1",
        ),
        (vectors(mean_cosine=0.97, directions=1.1), "warning", "collapsed: .* 0.97, .* 1.1 direc"),
        (vectors(norm=[1, 30, 1]), "warning", "1 vectors are more than 10 times as long .*: 1"),
        (vectors(), "ok", "3 vectors, lengths 0.9 to 1.1, with 2.9 directions"),
        (spectrum(0.1, 2.0), "warning", "1 of 2 updates are larger .* 2.0 times: a"),
        (spectrum(0.1, 0.2), "ok", "0.15 of its weight in the median, at most 0.2"),
        (lost(forgetting=0.2, ci_low=0.1, ci_high=0.3), "warning", r"Forgot on s: .* \+0.200 nats"),
        (probed(-0.3, -0.2, -0.1), "warning", r"Forgot of s: .* by -20\.0 points \(-30\.0 to -10"),
        (probed(-0.3, -0.2, 0.1), "ok", r"Nothing forgotten of s: .* by -20\.0 points"),
        (lost(forgetting=0.2, ci_low=-0.1, ci_high=0.3), "ok", "Nothing forgotten on s"),
        (
            lost(accuracy_change=-0.1, accuracy_ci_low=-0.2, accuracy_ci_high=-0.05),
            "warning",
            r"-10.0 poi",
        ),
        (
            lost(accuracy_change=-0.1, accuracy_ci_low=-0.2, accuracy_ci_high=0.05),
            "ok",
            r"-10.0 poi",
        ),
        (
            lost(accuracy_change=-1e-9, accuracy_ci_low=-0.2, accuracy_ci_high=0.2),
            "ok",
            r"changed by \+0\.0 points",
        ),
        (lost(forgetting=-1e-9, ci_low=-0.2, ci_high=0.2), "ok", r"changed by \+0\.000 nats"),
        (
            survival("erased"),
            "broken",
            r"in nf4, the update is erased: .* by 0.25 \(0.20 to 0.30\)",
        ),
        (survival("kept", text="task"), "ok", "keeps its effect: on the task's examples"),
        (survival("undecided"), "warning", "may lose its effect: .* 0.5 nats per token, 1 without"),
    ],
)
def test_what_is_said(tables, severity, text):
    found = findings.judge(tables)
    assert [one for one in found if one.severity == severity and matches(text, one.text)], found


def matches(pattern, text):
    import re

    return re.search(pattern, text)


def test_the_tasks_examples_decide_what_survives():
    both = pd.concat([*survival("erased").values(), *survival("kept", text="task").values()])
    assert {one.severity for one in findings.judge({"update_survival": both})} == {"ok"}
    assert findings.judge(survival(None)) == []  # the adapter has no effect


def test_a_sound_adapter_has_nothing_to_look_at():
    assert {one.severity for one in findings.judge(weights() | vectors() | spectrum(0.1))} == {"ok"}


def test_numbers_that_are_not_finite_are_all_that_is_said():
    assert len(findings.judge(weights(not_finite=1))) == 1


def test_the_worst_comes_first():
    found = findings.judge(weights(norm=[1, 0, 1, 1]) | vectors(norm=0.0))
    assert [one.severity for one in found][:2] == ["broken", "warning"]


def test_what_was_not_measured_is_not_spoken_of():
    row = {"suite": "s", "status": "not_applicable", "reason": "none"}
    assert findings.judge({"forgetting": pd.DataFrame([row])}) == []


def test_many_are_counted():
    long = pd.Series([f"l.{n}.q.weight" for n in range(5)])
    assert findings._listed(long) == "l.0.q, l.1.q, l.2.q and 2 more"

import pytest
from charts import rows

from peftlens.claims.rank import verdict


def table(width=0.005, **accuracies):
    return rows(
        {f"lora rank={name[1:]}": {"rank": int(name[1:]), "accuracy": accuracy, "width": width}
         for name, accuracy in accuracies.items()}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "outcome"),
    [
        ({"r1": 0.7, "r4": 0.75, "r16": 0.8, "r64": 0.8}, "supported"),
        ({"r1": 0.8, "r4": 0.8, "r64": 0.8}, "contradicted"),
        ({"r1": 0.7, "r16": 0.8, "r64": 0.9}, "contradicted"),
        ({"r1": 0.787, "r16": 0.8, "r64": 0.8}, "insufficient evidence"),
        ({"r1": 0.7, "r16": 0.8, "r64": 0.81}, "insufficient evidence"),
        ({"r4": 0.8, "r64": 0.8}, "not measured"),
        ({"r1": 0.7, "r32": 0.8}, "not measured"),
        ({"r1": 0.7, "r64": 0.8}, "not measured"),
    ],
)
def test_what_is_lost_below_and_gained_above_decides(accuracies, outcome):
    assert verdict(table(**accuracies))[0] == outcome


def test_wide_intervals_decide_nothing():
    found, sentence = verdict(table(width=0.05, r1=0.8, r4=0.8, r64=0.8))
    assert found == "insufficient evidence"
    assert "rank 1 has +0.0 points, -5.0 to +5.0" in sentence


def test_ranks_on_other_layers_are_left_out():
    tables = rows(
        {"lora rank=1": {"rank": 1, "accuracy": 0.7}, "lora rank=8": {"rank": 8},
         "lora rank=64": {"rank": 64},
         "lora rank=1 target_modules=all_linear": {"rank": 1, "accuracy": 0.9}}
    )  # fmt: skip
    assert verdict(tables)[0] == "supported"


def test_other_seeds_are_not_compared():
    tables = table(r1=0.7, r8=0.8, r64=0.8)
    tables["paired_accuracy"].loc[0, "difference_ci_low"] = None
    assert verdict(tables)[0] == "not measured"

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


def test_a_strict_level_decides_less():
    tables = table(r1=0.7, r16=0.8, r64=0.9)
    assert verdict(tables, 1e-300)[0] == "insufficient evidence"


def test_wide_intervals_decide_nothing():
    found, sentence, _ = verdict(table(width=0.05, r1=0.8, r4=0.8, r64=0.8))
    assert found == "insufficient evidence"
    assert "rank 1 has +0.0 points, -5.0 to +5.0" in sentence


def test_ranks_on_other_layers_are_left_out():
    tables = rows(
        {"lora rank=1": {"accuracy": 0.7}, "lora rank=8": {}, "lora rank=64": {},
         "lora rank=1 target_modules=all_linear": {"accuracy": 0.9}}
    )  # fmt: skip
    assert verdict(tables)[0] == "supported"


def test_ranks_on_different_layers_are_not_compared():
    tables = rows(
        {"lora rank=1 target_modules=attention": {"accuracy": 0.7},
         "lora rank=8 target_modules=all_linear": {},
         "lora target_modules=feed_forward rank=64": {}}
    )  # fmt: skip
    assert verdict(tables)[:2] == (
        "not measured",
        "The ranks were trained on different layers (attention; all_linear; feed_forward), and "
        "cannot be compared.",
    )


def test_ranks_that_were_trained_differently_are_not_compared():
    tables = rows({"lora rank=1 max_steps=20": {"accuracy": 0.7}, "lora": {}, "lora rank=64": {}})
    found, sentence, _ = verdict(tables)
    assert found == "not measured"
    assert sentence.startswith("The ranks differ in more than rank and alpha")


def test_the_group_with_most_ranks_counts():
    wide = "target_modules=all_linear"
    tables = rows(
        {f"lora rank={rank}": {"accuracy": 0.8} for rank in (1, 8, 64)}
        | {f"lora {wide} rank={rank}": {"accuracy": 0.7 if rank == 1 else 0.8}
           for rank in (1, 4, 8, 64)}
    )  # fmt: skip
    assert verdict(tables)[0] == "supported"  # by the others it would be contradicted


def test_of_several_alphas_the_one_that_validates_best_counts():
    tables = rows(
        {"lora rank=1": {"accuracy": 0.7, "validation_accuracy": 0.7},
         "lora rank=1 alpha=2": {"accuracy": 0.8, "validation_accuracy": 0.6},
         "lora rank=8": {}, "lora alpha=128 rank=64": {}}
    )  # fmt: skip
    found, sentence, _ = verdict(tables)
    assert found == "supported"
    assert "rank 1 has -10.0 points" in sentence


def test_other_seeds_are_not_compared():
    tables = table(r1=0.7, r8=0.8, r64=0.8)
    tables["paired_accuracy"].loc[0, "difference_ci_low"] = None
    assert verdict(tables)[0] == "not measured"

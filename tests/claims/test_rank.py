import pytest
from charts import rows

from peftlens.claims.rank import verdict


def table(**enough):
    return rows(
        {f"lora rank={name[1:]}": {"rank": int(name[1:]), "enough": word}
         for name, word in enough.items()}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("enough", "outcome"),
    [
        ({"r1": "no", "r4": "undecided", "r16": "yes", "r64": "yes"}, "supported"),
        ({"r1": "yes", "r4": "yes", "r16": "yes", "r64": "yes"}, "contradicted"),
        ({"r1": "no", "r4": "no", "r16": "no", "r64": "yes"}, "contradicted"),
        ({"r1": "undecided", "r4": "yes", "r64": "yes"}, "insufficient evidence"),
        ({"r4": "yes", "r64": "yes"}, "not measured"),
        ({"r1": "no", "r32": "yes"}, "not measured"),
    ],
)
def test_where_accuracy_saturates_decides(enough, outcome):
    assert verdict(table(**enough))[0] == outcome


def test_ranks_on_other_layers_are_left_out():
    tables = rows(
        {"lora rank=1": {"rank": 1, "enough": "no"}, "lora rank=8": {"rank": 8},
         "lora rank=64": {"rank": 64},
         "lora rank=1 target_modules=all_linear": {"rank": 1, "enough": "yes"}}
    )  # fmt: skip
    assert verdict(tables)[0] == "supported"

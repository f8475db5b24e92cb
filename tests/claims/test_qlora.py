import pytest
from charts import rows

from peftlens.claims.qlora import verdict


@pytest.mark.parametrize(
    ("accuracy", "memory", "outcome"),
    [
        (0.80, 5e6, "supported"),
        (0.80, 20e6, "insufficient evidence"),
        (0.70, 5e6, "contradicted"),
        (0.79, 5e6, "insufficient evidence"),
    ],
)
def test_accuracy_is_kept_and_memory_saved(accuracy, memory, outcome):
    found, _ = verdict(
        rows(
            {"qlora rank=8": {"accuracy": accuracy, "peak_memory_bytes": memory}, "lora rank=8": {}}
        )
    )
    assert found == outcome


def test_ranks_must_be_equal():
    assert verdict(rows({"qlora rank=8": {}, "lora rank=4": {}}))[0] == "not measured"


def test_without_memory_there_is_no_comparison():
    found = rows({"qlora rank=8": {"peak_memory_bytes": None}, "lora rank=8": {}})
    assert verdict(found)[0] == "not measured"

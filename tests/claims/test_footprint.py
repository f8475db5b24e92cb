import pandas as pd
import pytest

from peftlens.claims.footprint import verdict


def table(sizes):
    return {
        "parameter_count": pd.DataFrame(
            [{"configuration": f"{method} {n}", "method": method, "adapter_bytes": size,
              "trainable_parameters": size // 4}
             for n, (method, size) in enumerate(sizes)]
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "outcome"),
    [
        ((1_000, 10_000), "supported"),
        ((1_000, 50_000_000), "insufficient evidence"),
        ((50_000_000, 60_000_000, 1_000), "contradicted"),
    ],
)
def test_adapters_are_a_tenth_of_a_copy_or_are_not(sizes, outcome):
    found, sentence = verdict(table([("full", 270_000_000), *(("lora", size) for size in sizes)]))
    assert found == outcome
    assert "270 MB" in sentence


def test_what_trains_nothing_is_no_adapter():
    found, _ = verdict(table([("full", 270_000_000), ("frozen", 0)]))
    assert found == "not measured"
    assert verdict(table([("lora", 1_000)]))[0] == "not measured"

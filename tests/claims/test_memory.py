import pandas as pd
import pytest

from peftlens.claims.memory import verdict


def table(**peaks):
    return {
        "cost": pd.DataFrame(
            [
                {
                    "method": name,
                    "configuration": f"{name} seed",
                    "optimizer_state_bytes": 8,
                    "seed": seed,
                    "peak_memory_bytes": peak + seed,
                }
                for name, peak in peaks.items()
                for seed in range(3)
            ]
        )
    }


@pytest.mark.parametrize(
    ("peaks", "outcome"),
    [
        ({"lora": 100, "bottleneck": 120}, "supported"),
        ({"lora": 100, "bottleneck": 900}, "insufficient evidence"),
        ({"lora": 800, "bottleneck": 900}, "contradicted"),
    ],
)
def test_far_more_is_twice_as_much(peaks, outcome):
    found, sentence = verdict(table(full=1_000, **peaks))
    assert found == outcome
    assert "lora" in sentence


def test_what_trains_nothing_does_not_count():
    tables = table(full=1_000, frozen=1)
    tables["cost"].loc[tables["cost"]["method"] == "frozen", "optimizer_state_bytes"] = 0
    assert verdict(tables)[0] == "not measured"

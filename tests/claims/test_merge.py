import pandas as pd
import pytest

from peftlens.claims.merge import verdict


def table(low, high, method="lora"):
    return {
        "latency": pd.DataFrame(
            [{"method": method, "state": state, "ratio": (low + high) / 2, "ci_low": low,
              "ci_high": high, "n_rounds": 30} for state in ("base", "attached", "merged")]
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.99, 1.02, "supported"),
        (0.99, 1.09, "insufficient evidence"),
        (1.07, 1.09, "contradicted"),
    ],
)
def test_merged_takes_as_long_as_the_base_or_longer(low, high, outcome):
    assert verdict(table(low, high))[0] == outcome


def test_other_methods_do_not_count():
    assert verdict(table(0.9, 1.0, "dora"))[0] == "not measured"

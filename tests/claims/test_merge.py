import pandas as pd
import pytest

from peftlens.claims.merge import verdict


def table(low, high, method="lora", control=(0.99, 1.01)):
    ends = {"base": (1, 1), "control": control, "attached": (low, high), "merged": (low, high)}
    return {
        "latency": pd.DataFrame(
            [{"run": "r", "method": method, "state": state, "ratio": sum(both) / 2,
              "ci_low": both[0], "ci_high": both[1], "n_rounds": 30}
             for state, both in ends.items()]
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


def test_one_slow_lora_of_several_is_corrected_for_their_number():
    """One-sided p of an excess over 5 %: 0.02 of one decides, and not of the slowest of five."""
    one = table(1.052, 1.12)["latency"]
    five = [one.assign(run=f"r{n}") if not n else table(0.99, 1.02)["latency"].assign(run=f"r{n}")
            for n in range(5)]  # fmt: skip
    assert verdict({"latency": one})[0] == "contradicted"
    assert verdict({"latency": pd.concat(five)})[0] == "insufficient evidence"


def test_other_methods_do_not_count():
    assert verdict(table(0.9, 1.0, "dora"))[0] == "not measured"


@pytest.mark.parametrize("ends", [(0.99, 1.02), (1.07, 1.09)])
def test_a_disturbed_machine_decides_nothing(ends):
    found, sentence, _ = verdict(table(*ends, control=(1.06, 1.08)))
    assert found == "insufficient evidence"
    assert "disturbed in 1 of 1" in sentence
    assert verdict(table(0.99, 1.02, control=(1.01, 1.03)))[0] == "supported"  # within 5 %


def test_a_table_without_a_control_is_measured_again():
    rows = table(0.99, 1.02)["latency"]
    found, sentence, _ = verdict({"latency": rows[rows["state"] != "control"]})
    assert found == "not measured"
    assert "measure it again" in sentence

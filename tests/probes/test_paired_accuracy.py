import pandas as pd
import pytest
from sweep import study

from peftlens.probes.paired_accuracy import combine


def test_a_difference_stands_both_ways_round():
    found = combine(study({"lora rank=1": ("lora", 10, 0.6), "full": ("full", 99, 0.8)}))
    there, back = found.to_dict("records")
    assert (there["configuration"], there["other"]) == ("lora rank=1", "full")
    assert there["difference"] == pytest.approx(-0.2, abs=0.03)
    assert there["difference_ci_low"] < -0.2 < there["difference_ci_high"] < 0
    assert back["difference"] == -there["difference"]
    assert (back["n_seeds"], back["n_items"]) == (3, 400)


def test_pairing_tells_apart_what_overlaps():
    """Five points lie within either accuracy's own interval, and yet every example says so."""
    found = combine(study({"lora rank=1": ("lora", 10, 0.60), "full": ("full", 99, 0.65)}))
    assert found["difference_ci_high"][0] < 0


def test_other_seeds_are_not_paired():
    tables = study({"lora rank=1": ("lora", 10, 0.6), "full": ("full", 99, 0.8)})
    tables["task_items"].loc[tables["task_items"]["run"] == "full 2", "seed"] = 7
    assert combine(tables)["difference"].isna().all()


def test_one_configuration_has_no_pair():
    found = combine(study({"lora rank=1": ("lora", 10, 0.6)}))
    assert isinstance(found, pd.DataFrame)
    assert found.empty

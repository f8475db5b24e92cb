from types import SimpleNamespace

import pandas as pd
import pytest

from peftlens.reports.cheapest import cheapest
from peftlens.results.table import Table

SIZES = {"lora rank=1": 1_000, "lora rank=8": 8_000, "full": 1_000_000}


def found(differences, names=SIZES, config=(), probes=("rank_chart", "paired_accuracy")):
    """The card, from differences of each configuration from full fine-tuning, the best."""
    chart = pd.DataFrame(
        {"configuration": name, "method": name.split()[0],
         "accuracy": 0.9 if name == "full" else 0.8,
         "trainable_parameters": size, "adapter_bytes": 4 * size}
        for name, size in names.items()
    )  # fmt: skip
    pairs = pd.DataFrame(
        {"configuration": name, "other": "full", "difference": (low + high) / 2,
         "difference_ci_low": low, "difference_ci_high": high}
        for name, (low, high) in ({"of no one": (0.0, 0.0)} | differences).items()
    )  # fmt: skip
    tables = {
        "rank_chart": Table("rank_chart", 1, (), (), chart, dict(config)),
        "paired_accuracy": Table("paired_accuracy", 1, (), (), pairs),
    }
    tables = {name: one for name, one in tables.items() if name in probes}
    frame = chart.assign(metric="accuracy")
    return list(cheapest(SimpleNamespace(tables=tables), frame))  # pyright: ignore


def test_the_smallest_of_those_whose_interval_is_within_the_margin():
    (card,) = found({"lora rank=1": (-0.005, 0.01), "lora rank=8": (-0.001, 0.01)})
    assert (card.title, card.value) == ("Fewest parameters within 1 point", "LoRA, rank 1")
    assert card.details == (
        "1,000 trained parameters, 4 kB; +0.2 points (-0.5 to +1.0) from Full fine-tuning.",
    )


def test_nothing_is_decided_by_a_wide_interval():
    (card,) = found({"lora rank=1": (-0.05, 0.01), "lora rank=8": (-0.2, -0.1)})
    assert card.value == "Undecided"
    assert card.details == (
        "1 smaller one may or may not be as accurate. "
        "The smallest: LoRA, rank 1, -2.0 points (-5.0 to +1.0).",
    )


def test_the_best_itself_where_all_smaller_ones_are_worse():
    (card,) = found({"lora rank=1": (-0.3, -0.2), "lora rank=8": (-0.2, -0.1)})
    assert card.value == "Full fine-tuning"
    assert card.details == ("1.00M trained parameters, 4 MB; each smaller one is worse.",)


def test_a_smaller_one_that_is_undecided_is_counted():
    (card,) = found({"lora rank=1": (-0.05, 0.01), "lora rank=8": (-0.001, 0.01)})
    assert card.value == "LoRA, rank 8"
    assert card.details[1] == "1 smaller one undecided."


def test_a_smaller_one_of_other_seeds_is_not_called_worse():
    (card,) = found({"lora rank=8": (-0.2, -0.1)})
    assert card.value == "Undecided"
    assert card.details == (
        "1 smaller one may or may not be as accurate. "
        "The smallest: LoRA, rank 1, whose seeds differ from the "
        "best one's.",
    )


def test_the_smallest_may_be_the_best():
    (card,) = found({}, names={"full": 500, "lora rank=1": 1_000})
    assert card.value == "Full fine-tuning"
    assert card.details == ("500 trained parameters, 2 kB; none is smaller.",)


def test_the_margin_is_that_of_the_table():
    (card,) = found({"lora rank=1": (-0.04, 0.0)}, config={"margin": 0.05})
    assert (card.title, card.value) == ("Fewest parameters within 5 points", "LoRA, rank 1")


@pytest.mark.parametrize("probe", ["rank_chart", "paired_accuracy"])
def test_the_missing_probe_is_named(probe):
    (card,) = found({}, probes={"rank_chart", "paired_accuracy"} - {probe})
    assert card.value == ""
    assert f"Add the probe {probe} to" in card.details[0]


def test_one_configuration_has_no_card():
    assert found({}, names={"full": 5}) == []

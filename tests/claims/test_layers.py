import numpy as np
import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import layers
from peftlens.io import escaping
from peftlens.results.table import IDENTITY


def run(name, size, kept=0.96, random=0.3, *, seed=0, method="lora", blocks=30, low=0.1):
    """Rows of one run: all blocks, its smallest set of some size, and two random sets."""
    shared = {"run": name, "seed": seed, "method": method, "ci_low": low}
    rows = [{"active": "all", "blocks": [*range(1, blocks + 1)], "gain_share": 1.0}]
    if size is not None:
        own = {"active": "smallest set", "blocks": [*range(1, size + 1)], "gain_share": kept}
        others = [
            {"active": "random set", "blocks": [*range(1, size + 1)], "gain_share": random + off}
            for off in (-0.1, 0.1)
        ]
        rows += [own, *others]
    return [row | shared for row in rows]


def table(**runs):
    """Runs of each method: lists of arguments of `run`."""
    rows = [
        row
        for method, each in runs.items()
        for number, one in enumerate(each)
        for row in run(f"{method}{number}", seed=number, method=method, **one)
    ]
    return {"layer_ablation": pd.DataFrame(rows).convert_dtypes()}


def some(size, n=6, random=0.3, **values):
    """Runs with sets of about this size."""
    offsets = np.resize([-1, 0, 1], n)
    return [{"size": size + off, "random": random + off / 100, **values} for off in offsets]


def test_a_gain_that_random_updates_have_as_well_is_not_counted():
    rows = [run(f"run{seed}", 5, seed=seed) for seed in range(3)]
    for seed, one in enumerate(rows):
        one.append(one[0] | {"active": "random update", "gain_share": 0.2 if seed else 1.5})
    frame = pd.DataFrame([row for one in rows for row in one]).convert_dtypes()
    _, sentence, _ = layers.verdict({"layer_ablation": frame})
    assert "1 run without a gain" in sentence


@pytest.mark.parametrize(
    ("runs", "outcome", "message"),
    [
        (
            {"lora": some(5)},
            "supported",
            "yes for lora (17% of 30 blocks with 96% of the gain, rand",
        ),
        ({"lora": some(20)}, "contradicted", "no for lora (67% of 30 blocks"),  # not few
        ({"lora": some(5, random=0.95)}, "contradicted", "random sets 95%"),  # anywhere
        ({"lora": some(5), "ia3": some(20)}, "contradicted", "yes for lora"),
        ({"lora": some(10)}, "insufficient evidence", "undecided for lora (33% of"),
        ({"lora": some(5, n=2)}, "insufficient evidence", "2 runs)."),
        ({"lora": some(5, kept=0.6)}, "insufficient evidence", "with 60% of the gain"),
        ({"lora": some(5), "ia3": some(5, low=-0.1)}, "supported", "6 runs without a gain"),
        ({"lora": some(5), "ia3": some(2, blocks=4)}, "supported", "6 runs without a gain"),
        ({"lora": some(5, low=-0.1)}, "not measured", "six blocks or more"),
        ({"lora": [{"size": None}]}, "not measured", "six blocks or more"),
    ],
)
def test_every_outcome(runs, outcome, message):
    found, sentence, _ = layers.verdict(table(**runs))
    assert found == outcome
    assert message in sentence


def test_the_share_that_is_kept_must_be_shown():
    """A mean of 0.92 whose interval over six runs goes below 0.9."""
    runs = [one | {"kept": kept} for one, kept in zip(some(5), [0.8, 1.04] * 3, strict=True)]
    assert layers.verdict(table(lora=runs))[0] == "insufficient evidence"
    runs = [one | {"kept": kept} for one, kept in zip(some(5), [0.91, 0.93] * 3, strict=True)]
    assert layers.verdict(table(lora=runs))[0] == "supported"


def test_a_table_from_a_csv_file_has_the_same_verdict():
    tables = table(lora=some(2))  # sets of one block too, which are numbers there
    again = {name: escaping.from_csv(escaping.to_csv(one)) for name, one in tables.items()}
    assert layers.verdict(again) == layers.verdict(tables)


def test_the_probe_has_these_columns():
    columns = (*IDENTITY, *registry.load("probes", "layer_ablation").COLUMNS)
    rows = table(lora=some(5))["layer_ablation"]
    assert {*rows} <= {column.name for column in columns}

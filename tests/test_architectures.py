"""A part of the sweep of methods and probes over tiny models of many architectures."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
METHODS = ("lora", "vera", "ia3", "bottleneck", "prompt_tuning", "prefix_tuning", "mam")


@pytest.fixture
def sweep(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))
    return importlib.import_module("architectures")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("bart", {}),
        ("deepseek_v3", {"ia3": "this model's experts", "prefix_tuning": "no prefix fits"}),
        ("mixtral", {"ia3": "this model's experts"}),
        ("mpt", {}),
        ("opt_350m", {}),
        ("phi3", {"mam": "does not make a key for every query"}),
    ],
)
def test_methods_work_or_end_in_a_line(sweep, name, refused):
    table = sweep.methods_table([name], METHODS)
    assert not sweep.defects(table)
    (row,) = table.to_dict("records")
    for method, message in refused.items():
        assert message in row[method]
    assert row["lora"] == row["prompt_tuning"] == row["bottleneck"] == sweep.WORKS


def test_probes_measure_experts_and_state_space_models(sweep):
    probes = ("delta_spectrum", "parameter_count", "adapter_weights", "soft_prompt_neighbors")
    table = sweep.probes_table(["mixtral", "mamba"], probes)
    assert not sweep.defects(table)
    measured = table.set_index(["architecture", "probe"])
    assert measured.loc[("mixtral", "delta_spectrum"), "lora"] == sweep.WORKS
    assert measured.loc[("mamba", "soft_prompt_neighbors"), "prompt_tuning"] == sweep.WORKS


def test_defects_are_the_cells_that_are_no_line(sweep):
    import pandas as pd

    table = pd.DataFrame([{"architecture": "a", "x": "works", "y": "ERROR KeyError at a.py:1: b"}])
    assert sweep.defects(table) == ["ERROR KeyError at a.py:1: b"]


def test_the_committed_tables_have_no_defect(sweep):
    import pandas as pd

    methods, probes = (pd.read_csv(sweep.OUT / f"{one}.csv") for one in ("methods", "probes"))
    assert len(methods) == 24 and len(methods.columns) == 1 + 20
    assert probes["architecture"].nunique() == 10
    assert not sweep.defects(methods) and not sweep.defects(probes)

"""The tables of docs/statistics.md can be made again, and the page holds them."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))
    return importlib.import_module("simulated_statistics")


def test_the_page_has_every_table(script):
    text = script.PAGE.read_text()
    for name in script.TABLES:
        table = text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
        assert table.count("\n") > 3, name


def share(text):
    return float(text.strip("%")) / 100


def test_where_the_residual_dominates_the_bootstrap_is_too_wide(script):
    row = next(iter(script.coverage(150)))
    assert share(row["pigeonhole bootstrap"]) > 0.98
    assert 0.92 <= share(row["mixed model"]) <= 0.99


def test_corrections_hold_the_level(script):
    row = [*script.errors(200)][1]
    assert share(row["each at 5 %"]) > 0.15
    assert share(row["with Holm's correction"]) < 0.1

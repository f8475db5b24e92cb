import pandas as pd
import pytest

from peftlens.results.display_units import DisplayUnit, column_title, display_unit, is_share
from peftlens.results.table import Column

MEMORY = Column("peak_memory_bytes", "m", "bytes")
TIME = Column("step_seconds", "m", "s")


@pytest.mark.parametrize(
    ("column", "largest", "shown", "name"),
    [
        (MEMORY, 250e6, 250, "MB"),
        (MEMORY, 230_400, 0.2304, "MB"),
        (MEMORY, 9e9, 9000, "MB"),
        (MEMORY, 24e9, 24, "GB"),
        (MEMORY, 5000, 5, "kB"),
        (MEMORY, 12, 12, "bytes"),
        (TIME, 0.5, 0.5, "s"),
        (TIME, 0.0125, 12.5, "ms"),
        (TIME, 600, 10, "min"),
        (TIME, 9000, 2.5, "h"),
        (Column("accuracy", "share of test examples answered right", "1"), 0.8, 80, "%"),
        (Column("accuracy_change", "m", "1"), -0.03, -3, "points"),
        (Column("stable_rank", "m", "1"), 4, 4, None),
        (Column("loss", "m", "nats"), 4, 4, "nats"),
    ],
)
def test_values_are_short(column, largest, shown, name):
    unit = display_unit(column, [largest / 3, None, largest])
    assert unit.name == name
    assert unit.of(pd.Series([largest, None]))[0] == pytest.approx(shown)
    assert pd.isna(unit.of(pd.Series([largest, None]))[1])


def test_p_values_are_no_shares():
    meaning = "share of random directions that are as sparse"
    assert is_share(Column("readable", meaning, "1"))
    assert not is_share(Column("p_sparseness", meaning, "1"))
    assert not is_share(Column("p", meaning, "1"))
    assert not is_share(Column("seen", meaning, None))


def test_heads_name_the_unit_once():
    assert column_title(MEMORY, DisplayUnit("MB")) == "peak memory (MB)"
    assert column_title(TIME, DisplayUnit("s")) == "step time (s)"
    assert column_title(Column("stable_rank", "m", "1"), DisplayUnit(None)) == "stable rank"
    assert column_title(Column("step", "m", "steps"), DisplayUnit("steps")) == "step"


def test_without_values_the_unit_stays():
    assert display_unit(MEMORY, []) == DisplayUnit("bytes")

import pandas as pd
import pytest

from peftlens.reports.cells import compact, grid, ordered_columns, three_digits
from peftlens.results.table import Column

COLUMNS = (
    Column("accuracy", "share answered right", "1", "higher"),
    Column("adapter_bytes", "size", "bytes", "lower"),
    Column("trainable_parameters", "number of parameters", "1", "lower"),
    Column("step_seconds", "time of a step", "s"),
    Column("token_id", "id of the token"),
)


def made(**columns):
    found = grid(pd.DataFrame(columns), COLUMNS)
    return [head.name for head in found.heads], [[one.text for one in row] for row in found.rows]


def test_units_stand_in_the_head_and_values_are_short():
    names, rows = made(
        accuracy=[0.5, 0.25], adapter_bytes=[269_060_632, 46_280],
        trainable_parameters=[134_515_008, 576], step_seconds=[2.5, 0.5],
    )  # fmt: skip
    assert names == ["accuracy (%)", "adapter (MB)", "trainable parameters", "step time (s)"]
    assert rows == [["50", "269", "135M", "2.5"], ["25", "0.0463", "576", "0.5"]]


def test_a_short_value_keeps_its_digits_for_sorting_and_pointing():
    frame = pd.DataFrame({"trainable_parameters": [134_515_008, 576], "name": ["a", "b"]})
    first, second = (row[0] for row in grid(frame, COLUMNS).rows)
    assert (first.value, first.exact) == ("134515008", "134,515,008")
    assert (second.value, second.exact) == ("576", "")
    assert grid(frame, COLUMNS).rows[0][1].value == ""


def test_an_interval_is_in_the_cell_of_its_value_and_rounds_it():
    names, rows = made(accuracy=[0.8126, None], items_ci_low=[0.7634, None],
                       items_ci_high=[0.8531, None])  # fmt: skip
    assert names == ["accuracy (%)"]
    assert rows == [["81 (76 to 85)"], ["–"]]


def test_an_interval_without_width_is_left_out():
    assert made(loss=[0.5], loss_ci_low=[0.5], loss_ci_high=[0.5])[1] == [["0.5"]]


def test_an_interval_of_something_else_stays_apart():
    """The columns after `accuracy` are the interval of a change, which does not hold it."""
    names, rows = made(accuracy=[0.8], accuracy_ci_low=[-0.1], accuracy_ci_high=[0.1])
    assert len(names) == 3
    assert rows[0][0] == "80"
    assert len(made(accuracy=[0.8], accuracy_ci_low=[0.7])[0]) == 1 + 1
    assert len(made(name=["a"], ci_low=[0.1], ci_high=[0.2])[0]) == 3


def test_ids_are_not_shortened_and_lists_are_joined():
    assert made(token_id=[49_151], words=[["a", "b"]])[1] == [["49,151", "a b"]]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (57_600, "57.6k"), (999_499, "999k"),
        (999_600, "1.00M"), (3_686_400, "3.69M"), (134_515_008, "135M"), (7_000_000_000, "7.00B"),
    ],
)  # fmt: skip
def test_counts(count, text):
    assert compact(count) == text


def test_three_digits():
    assert [three_digits(one) for one in (0.07884, 14.76, 2900.3)] == ["0.0788", "14.8", "2,900"]


def test_the_name_of_a_row_is_first_and_its_id_is_left_out():
    frame = pd.DataFrame({"run": ["f00"], "configuration": ["lora"], "method": ["lora"], "n": [1]})
    assert [*ordered_columns(frame)] == ["configuration", "n"]
    assert [*ordered_columns(frame[["run", "n"]])] == ["run", "n"]

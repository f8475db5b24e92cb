import pytest

from peftlens.figures.ticks import MOST, log_ticks, number_ticks, tick_label


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.61, 0.84, [0.65, 0.7, 0.75, 0.8]),
        (-30, 130, [0, 50, 100]),
    ],
)
def test_round_numbers(low, high, ticks):
    assert number_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (900, 2e6, [1e3, 1e4, 1e5, 1e6]),
        (1, 100, [1, 10, 100]),
        (3, 60, [5, 10, 20, 50]),
        (0.001, 0.04, [0.001, 0.002, 0.005, 0.01, 0.02]),
        (6, 7, [6, 7]),
    ],
)
def test_decades(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_many_decades_are_not_all_labeled():
    ticks = log_ticks(1, 1e20)
    assert len(ticks) <= MOST
    assert ticks[1] == pytest.approx(1e3)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0.001, "0.001"), (20.0, "20"), (1000.0, "1k"), (57_600.0, "57.6k"), (1e7, "10M"),
     (-2e9, "-2G"), (0.30000000000000004, "0.3"), (0.0, "0")],
)  # fmt: skip
def test_labels(value, label):
    assert tick_label(value) == label

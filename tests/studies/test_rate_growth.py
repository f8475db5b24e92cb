import pytest

from peftlens.studies.rate_growth import is_at_edge, new_rates


@pytest.mark.parametrize(
    ("rates", "best", "expected"),
    [
        ([1e-3], 1e-3, [3.33e-4, 3e-3]),  # both edges
        ([1e-3, 1e-2], 1e-2, [1e-1]),
        ([1e-3, 1e-2], 1e-3, [1e-4]),
        ([1e-3, 3e-3, 1e-2], 3e-3, []),  # inside
        ([1e-3, 2e-3, 4e-3], 4e-3, [8e-3]),  # by its own factor
        ([3e-4, 1e-3, 3e-3, 1e-2], 3e-4, [1e-4]),  # steps of 3.3 and 3 by turns
        ([1e-5, 3e-5, 1e-4, 3e-4], 3e-4, [1e-3]),
        ([1e-4, 1e-3, 1e-2], 1e-2, []),  # two decades already
        ([1e-4, 1e-2], 1e-4, []),  # more than two decades
    ],
)
def test_a_grid_grows_at_the_edge_of_the_best_rate(rates, best, expected):
    assert new_rates(rates, best) == pytest.approx(expected)


def test_a_grid_that_grows_as_long_as_it_may_spans_two_decades():
    rates = [1e-3]
    while more := new_rates(rates, rates[-1]):
        rates = sorted({*rates, more[-1]} if more[-1] > rates[-1] else rates)
        if more[-1] <= rates[0]:
            break
    assert 10 < rates[-1] / rates[0] <= 101


def test_the_edges():
    assert is_at_edge([1.0, 2.0, 3.0], 3.0)
    assert is_at_edge([1.0], 1.0)
    assert not is_at_edge([1.0, 2.0, 3.0], 2.0)

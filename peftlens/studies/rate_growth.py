"""Growth of a grid of learning rates: by its own factor, while the best rate lies at its edge."""

from collections.abc import Sequence
from math import isclose

FACTOR = 3.0  # of a grid of a single rate
MOST = 100.0  # highest over lowest rate: two decades


def new_rates(rates: Sequence[float], best: float) -> list[float]:
    """Return the rates beyond the edges at which the best rate lies.

    Args:
        rates: positive rates, in ascending order.
        best: the best of them.

    Returns:
        Rates to try, rounded to three digits; none if the best rate lies inside of the grid, or if
        the grid would span more than two decades.
    """
    if len(rates) == 1:
        return [float(f"{best / FACTOR:.3g}"), float(f"{best * FACTOR:.3g}")]
    found = []
    if best == rates[0]:
        found.append(_next(rates))
    if best == rates[-1]:
        found.append(_next(rates[::-1]))
    rounded = [float(f"{rate:.3g}") for rate in found]
    return [rate for rate in rounded if _span(rates, rate) <= MOST * 1.01]


def _next(rates: Sequence[float]) -> float:
    """Continue the rates before the first one, in either order.

    Two unequal steps are repeated by turns, so that 3e-4, 1e-3, 3e-3 goes on with 1e-4.
    """
    step = rates[1] / rates[0]
    if len(rates) > 2 and not isclose(before := rates[2] / rates[1], step, rel_tol=0.01):
        step = before
    return rates[0] / step


def _span(rates: Sequence[float], rate: float) -> float:
    return max(*rates, rate) / min(*rates, rate)


def is_at_edge(rates: Sequence[float], best: float) -> bool:
    """Whether the best rate is the lowest or the highest of those that were tried."""
    return best in (min(rates), max(rates))

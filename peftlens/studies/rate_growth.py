"""Growth of a grid of learning rates: by its own factor, while the best rate lies at its edge."""

from collections.abc import Sequence

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
    found = []
    if best == rates[0]:
        found.append(best / (rates[1] / best if len(rates) > 1 else FACTOR))
    if best == rates[-1]:
        found.append(best * (best / rates[-2] if len(rates) > 1 else FACTOR))
    rounded = [float(f"{rate:.3g}") for rate in found]
    return [rate for rate in rounded if _span(rates, rate) <= MOST * 1.01]


def _span(rates: Sequence[float], rate: float) -> float:
    return max(*rates, rate) / min(*rates, rate)


def is_at_edge(rates: Sequence[float], best: float) -> bool:
    """Whether the best rate is the lowest or the highest of those that were tried."""
    return best in (min(rates), max(rates))

"""Ticks of numeric axes: round numbers, and on a logarithmic axis decades."""

import math

from peftlens.numerics.rounding import number

MOST = 7  # decades that are labeled; of more, every second, third, ...
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number_ticks(low: float, high: float) -> list[float]:
    """Return three to six multiples of 1, 2 or 5 times a power of ten between two values."""
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= rough)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the decades between two positive values; within two decades 1, 2 and 5 of each.

    Without any of these in between, the two ends.
    """
    first, last = (round(math.log10(end), 9) for end in (low, high))
    powers = range(math.ceil(first), math.floor(last) + 1)
    if len(powers) > 2:
        return [10.0**power for power in powers][:: math.ceil(len(powers) / MOST)]
    span = range(math.floor(first), math.floor(last) + 1)
    steps = [factor * 10.0**power for power in span for factor in (1, 2, 5)]
    between = [step for step in steps if low <= step * (1 + 1e-9) and step <= high * (1 + 1e-9)]
    return between if len(between) > 1 else [low, high]


def tick_label(value: float) -> str:
    """Label a tick: 0.001, 20, 1k, 57.6k, 10M."""
    for size, suffix in _SUFFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return number(float(f"{value:.6g}"))

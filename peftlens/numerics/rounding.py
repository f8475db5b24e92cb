"""Rounding: numbers as text, to the digits that their confidence interval supports.

Source: Particle Data Group, Review of Particle Physics, introduction, section 5.3 (354 rule).
"""

import math
from numbers import Integral

import numpy as np
import pandas as pd

MISSING = "–"


def decimals(half_width: float) -> int:
    """Number of significant digits after the decimal point.

    Of the half-width's three leading digits, 100 to 354 keep two, 355 to 949 one, and 950 to 999
    are rounded up to 1000 and keep two.

    Args:
        half_width: half the width of the interval; positive and finite.
    """
    exponent = math.floor(math.log10(half_width))
    leading = round(half_width / 10.0 ** (exponent - 2))
    if leading >= 950:
        return max(0, -exponent)
    return max(0, (1 if leading <= 354 else 0) - exponent)


def number(value: object, low: object = None, high: object = None) -> str:
    """A number, rounded by its interval; to four significant digits where there is none.

    Zero has no sign: not -0.0, whether it was rounded or not.

    Of a list every value, joined by spaces; whole numbers in it are ids, without separators.
    """
    if isinstance(value, list | np.ndarray):
        return " ".join(str(one) if isinstance(one, Integral) else number(one) for one in value)
    if pd.isna(value):  # pyright: ignore[reportArgumentType, reportCallIssue]
        return MISSING
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    real = float(value)  # pyright: ignore[reportArgumentType]
    half = 0.0 if _none(low) or _none(high) else (float(high) - float(low)) / 2  # pyright: ignore
    if half > 0 and math.isfinite(half):
        return f"{real:z,.{decimals(half)}f}"
    if real.is_integer() and abs(real) < 1e15:
        return f"{real:z,.0f}"
    return f"{real:,.0f}" if abs(real) >= 1e4 else f"{real:.4g}"


def interval(value: object, low: object, high: object) -> str:
    """Format a number with its interval, such as 0.81 (0.76 to 0.85)."""
    if _none(low) or _none(high):
        return number(value)
    ends = (number(end, low, high) for end in (low, high))
    return f"{number(value, low, high)} ({' to '.join(ends)})"


def _none(value: object) -> bool:
    return value is None or bool(pd.isna(value))  # pyright: ignore[reportArgumentType, reportCallIssue]

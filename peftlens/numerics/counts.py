"""Counts and durations in words: `1 run`, `2,500 runs`, `a minute`, `1.5 hours`."""

_MINUTE, _HOUR = 60, 3600  # seconds
_LONG = 120  # minutes, from which on hours are written


def counted(n: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun.

    Args:
        n: number of things.
        noun: the noun for one thing.
        plural: the noun for several, where it is not the first one with an s.
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Write a duration in seconds, whole minutes or hours."""
    minutes = round(seconds / _MINUTE)
    if seconds < _MINUTE:
        return counted(round(seconds), "second")
    return counted(minutes, "minute") if minutes < _LONG else f"{seconds / _HOUR:.1f} hours"

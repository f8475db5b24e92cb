"""Overlap of two ranked lists, weighted by rank."""

from collections.abc import Hashable, Sequence

import numpy as np

PERSISTENCE = 0.9  # the first ten ranks have 86 % of the weight


def rank_biased_overlap(
    one: Sequence[Hashable], other: Sequence[Hashable], persistence: float = PERSISTENCE
) -> float:
    """Average overlap of the heads of two ranked lists, with weights that fall geometrically.

    The share of common items at depth d has the weight (1 − p) p^(d − 1); behind the end of the
    lists, it is extrapolated as the share at their end. Of lists that differ in length, the longer
    one is cut.

    Args:
        one: distinct items, the first rank first.
        other: another such list.
        persistence: p, between 0 and 1; the larger, the more the lower ranks count.

    Returns:
        0 for disjoint lists to 1 for equal ones, dimensionless.

    Raises:
        ValueError: a list is empty or has an item twice, or p is not between 0 and 1.

    Source: Webber, Moffat & Zobel 2010, ACM Transactions on Information Systems 28(4), article 20,
        equation 30.
    """
    depth = min(len(one), len(other))
    one, other = one[:depth], other[:depth]
    if not depth or len({*one}) < depth or len({*other}) < depth:
        raise ValueError("ranked lists must have items, none of them twice")
    if not 0 < persistence < 1:
        raise ValueError(f"persistence={persistence} must lie between 0 and 1")
    rank = {item: at for at, item in enumerate(other)}
    # a common item counts from the depth at which both lists have it
    joins = [max(at, rank[item]) for at, item in enumerate(one) if item in rank]
    depths = np.arange(1, depth + 1)
    shares = np.bincount(np.array(joins, int), minlength=depth).cumsum() / depths  # (depth,)
    weights = (1 - persistence) * persistence ** (depths - 1.0)
    return float(weights @ shares + persistence**depth * shares[-1])

"""Contrasts of several configurations: weighted sums of their scores over shared seeds and items.

An interaction, such as whether one method loses more than another under a changed condition, is a
difference of differences. Its interval can't be put together from those of the two differences,
which share seeds and test examples. It is that of the contrast of the scores themselves.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.numerics.mixed_model import Estimate, crossed_estimate


def contrast(scores: Mapping[str, pd.DataFrame], weights: Mapping[str, float]) -> Estimate | None:
    """Estimate the weighted sum of configurations' mean scores, paired by seed and item.

    Args:
        scores: scores of each configuration, shape (seeds, items).
        weights: weight of each configuration in the sum; the others are left out.

    Returns:
        The sum, with its interval over the seeds and items that all of them have; None with fewer
        than two of either.
    """
    frames = [scores[name] for name in weights]
    seeds, items = frames[0].index, frames[0].columns
    for frame in frames[1:]:
        seeds, items = seeds.intersection(frame.index), items.intersection(frame.columns)
    if len(seeds) < 2 or len(items) < 2:
        return None
    parts = zip(frames, weights.values(), strict=True)
    return crossed_estimate(sum(w * frame.loc[seeds, items].to_numpy(float) for frame, w in parts))

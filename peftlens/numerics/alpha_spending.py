"""Alpha spending: levels of the looks at growing data, so that all of them together err at most α.

By Bonferroni's inequality the levels of all looks may add up to α, whatever the dependence between
the looks and whatever rule stops them. The usual boundaries (O'Brien & Fleming 1979, Biometrics 35,
549-556; Lan & DeMets 1983, Biometrika 70, 659-663) are less strict, and hold where the estimates of
the looks are jointly normal with known variances: not with three seeds, nor for several claims that
stop together.
"""

GROWTH = 2.0  # each look has twice the level of the one before, so most of it is spent late


def look_levels(alpha: float, looks: int, growth: float = GROWTH) -> list[float]:
    """Divide a level over looks, in a geometric series.

    Args:
        alpha: level of all looks together, such as 0.025 for one side.
        looks: highest number of looks.
        growth: ratio of a look's level to that of the one before; 1 for equal levels.

    Returns:
        Level of each look, shape (looks,); their sum is alpha.

    Raises:
        ValueError: there is no look, or alpha lies outside of 0 to 1.
    """
    if looks < 1 or not 0 < alpha < 1:
        raise ValueError(f"looks={looks} must be at least 1, and alpha={alpha} between 0 and 1")
    weights = [growth**look for look in range(looks)]
    return [alpha * weight / sum(weights) for weight in weights]

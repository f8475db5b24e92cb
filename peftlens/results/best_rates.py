"""Best learning rates of configurations, with their uncertainty, on the logarithmic scale.

The best rate of a configuration and seed has the highest validation accuracy of its grid; of equal
ones that with the lowest validation loss. A grid rounds the best rate: the true one lies anywhere
within half a step of the grid, whatever the seeds say. The variance of a uniform distribution over
a step is therefore added to the variance over seeds (JCGM 100:2008, Guide to the expression of
uncertainty in measurement, section 4.3.7). A best rate at the edge of its grid is a bound only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.numerics.mixed_model import LEVEL, Estimate
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.results.sequential import RACED_RATES
from peftlens.results.sweep import sweep_names

LEAST_RATES = 3  # of two rates each is at an edge


@dataclass(frozen=True)
class BestRates:
    """Best learning rates of one configuration.

    Attributes:
        logs: log10 of the best rate, indexed by seed.
        at_edge: whether it is the lowest or highest of the grid, indexed by seed.
        step: largest distance between neighboring rates of the grid, in decades.
        score: validation accuracy at the best rate, mean over seeds; NaN if it was not measured.
    """

    logs: pd.Series
    at_edge: pd.Series
    step: float
    score: float

    @property
    def typical(self) -> float:
        """Geometric mean of the best rates over the seeds."""
        return float(10 ** self.logs.mean())


def best_rates(tables: Mapping[str, pd.DataFrame]) -> dict[str, BestRates]:
    """Find the best rates of every configuration with three rates or more.

    Args:
        tables: `cost` and `configurations`.

    Returns:
        Best rates by the configuration's name without the rate.
    """
    costs = tables["cost"]
    runs = pd.DataFrame(
        {
            "name": costs["configuration"].map(sweep_names(tables)),
            "seed": costs["seed"],
            "rate": costs["learning_rate"].astype(float),
            "accuracy": costs["validation_accuracy"].astype(float),
            "gain": -costs["validation_loss"].astype(float),
        }
    )
    runs = runs[runs["rate"] > 0]  # the frozen base has none
    ordered = runs.sort_values(["accuracy", "gain"], kind="stable", na_position="first")
    best = ordered.drop_duplicates(["name", "seed"], keep="last").set_index("seed").sort_index()
    grids = {name: np.unique(rates) for name, rates in runs.groupby("name", sort=False)["rate"]}
    return {
        str(name): _best_rates(best[best["name"] == name], grid)
        for name, grid in grids.items()
        if len(grid) >= LEAST_RATES
    }


def _best_rates(best: pd.DataFrame, grid: NDArray[np.float64]) -> BestRates:
    return BestRates(
        logs=pd.Series(np.log10(best["rate"].to_numpy(float)), best.index),
        at_edge=best["rate"].isin([grid[0], grid[-1]]),
        step=float(np.diff(np.log10(grid)).max()),
        score=float(best["accuracy"].mean()),
    )


def chosen_rates(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the rate of the highest validation accuracy, mean over seeds, by configuration.

    Args:
        tables: `cost` and `configurations`.
    """
    runs = tables["cost"].dropna(subset=["learning_rate", "validation_accuracy"])
    keys = [runs["configuration"].map(sweep_names(tables)), runs["learning_rate"].astype(float)]
    means = runs["validation_accuracy"].astype(float).groupby(keys).mean()
    best = means.groupby(level=0).idxmax()
    return {str(name): float(rate) for name, rate in best}


def log_ratio(one: BestRates, other: BestRates) -> Estimate | None:
    """Estimate the ratio of two configurations' best rates, over the seeds that both have.

    The variance over seeds has Student's t, that of the grid's rounding is known; the degrees of
    freedom of their sum are Satterthwaite's.

    Returns:
        Mean difference of the logarithms, in decades; None with fewer than two shared seeds.
    """
    differences = (one.logs - other.logs).dropna().to_numpy(float)
    n = len(differences)
    if n < 2:
        return None
    over_seeds = float(differences.var(ddof=1)) / n
    rounding = (one.step**2 + other.step**2) / 12
    variance = over_seeds + rounding
    freedom = variance**2 / (over_seeds**2 / (n - 1)) if over_seeds else float("inf")
    mean = float(differences.mean())
    estimate = Estimate(mean, degrees_of_freedom=freedom, standard_error=float(np.sqrt(variance)))
    return estimate.at_level(LEVEL)


def untuned(best: Mapping[str, float], tables: Mapping[str, pd.DataFrame]) -> set[str]:
    """Return the configurations whose best rate is at the edge of their grid.

    Args:
        best: best rate of each configuration, by its name without the rate.
        tables: `configurations`, and `raced_rates` where the rates were raced before: their grid is
            that of the race then, and not the one rate that was confirmed.
    """
    by_name = tables[CONFIGURATIONS].groupby("sweep")["learning_rate"]
    grids = by_name.agg(lowest="min", highest="max").astype(float)
    if RACED_RATES in tables:
        raced = tables[RACED_RATES].set_index("configuration")[["lowest", "highest"]]
        grids = pd.concat([raced.astype(float), grids[~grids.index.isin(raced.index)]])
    ends = dict(zip(grids.index, grids.to_numpy(float), strict=True))
    return {
        name
        for name, rate in best.items()
        if name not in ends or np.isclose(rate, ends[name], atol=0).any()
    }


def untuned_in_chart(tables: Mapping[str, pd.DataFrame], names: Iterable[str]) -> list[str]:
    """Return which of some configurations of `rank_chart` have their best rate at an edge.

    Args:
        tables: `rank_chart`, and those of `untuned`.
        names: names of the configurations, without the rate.
    """
    chart = tables["rank_chart"]
    rates = zip(
        chart["configuration"].astype(str), chart["learning_rate"].astype(float), strict=True
    )
    chosen = {*names}
    best = {name: rate for name, rate in rates if name in chosen}
    return sorted(untuned(best, tables))


def edge_text(names: Iterable[str]) -> str:
    """Say of which configurations the best rate is at the edge of the grid; empty if of none."""
    shown = ", ".join(names)
    return f" Best rates at the edge of their grid: {shown}; widen the grids." if shown else ""

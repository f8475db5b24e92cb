"""Razor: does divergence on the new task predict forgetting, better than norm, rank or parameters?

Each saved step of each run is a point: forgetting on a suite of texts against a predictor. A
quadratic is fitted to them, as in the source, and R² is the share of the variance of forgetting
that it explains. The points of a run are no independent evidence: R² is tested by assigning whole
configurations' predictors to one another, which keeps the course of training and asks whether it
matters which configuration a value belongs to.

Source: Shenfeld et al. 2025, arXiv:2509.04259.
"""

from collections.abc import Iterator, Mapping
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.results.table import Chart, Column, NotApplicable, measured

INPUTS = ("task_divergence", "forgetting", "delta_spectrum", "parameter_count")
VERSION = 1
OPTIONAL = True  # needs task_divergence and several configurations with checkpoints
_DRAWS = 999  # permutations, where all of them would be more
_FEWEST = 4  # points, one more than the quadratic has coefficients
COLUMNS = (
    Column("suite", "name of the suite of texts"),
    Column("predictor", "task_kl: KL(base || tuned) on the new task; update_norm: ‖ΔW‖_F over all "
           "weights; rank; parameters: log10 of the trainable ones"),
    Column("r_squared", "share of the variance of forgetting explained by a quadratic in the "
           "predictor", "1", "higher"),
    Column("null_r_squared", "mean of it over permutations of the configurations", "1"),
    Column("p_value", "share of permutations with an R² as large, the observed one included; "
           "missing where the configurations have different seeds or steps"),
    Column("n_points", "number of saved steps of runs, without the first"),
    Column("n_configurations", "number of configurations"),
    Column("n_permutations", "number of permutations"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="predictor",
        y="r_squared",
        title="Share of forgetting explained (R²)",
        each="suite",
    ),
)
_KEYS = ["configuration", "seed", "step"]


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per suite of texts and predictor.

    Raises:
        NotApplicable: there are too few saved steps, or only one configuration.
    """
    points = _points({name: measured(tables[name]) for name in INPUTS})
    rows = [
        {"suite": suite, "predictor": name} | row
        for suite, group in points.groupby("suite", sort=False)
        for name in ("task_kl", "update_norm", "rank", "parameters")
        for row in _rows(group.dropna(subset=[name]), name)
    ]
    if not rows:
        raise NotApplicable(
            f"fewer than two configurations with together {_FEWEST} saved steps after the first "
            "have a forgetting on texts and a predictor"
        )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _points(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the outcome and its predictors, one row per suite and saved step after the first."""
    forgetting = tables["forgetting"].dropna(subset=["forgetting"])
    points = forgetting[forgetting["step"] > 0][["run", *_KEYS, "suite", "forgetting"]]
    points = points.merge(tables["task_divergence"][["run", "step", "task_kl"]], how="left")
    if len(norms := tables["delta_spectrum"]):
        squares = norms.assign(update_norm=norms["norm"].astype(float) ** 2)
        whole = squares.groupby(["run", "step"], as_index=False)["update_norm"].sum()
        points = points.merge(whole.assign(update_norm=np.sqrt(whole["update_norm"])), how="left")
    sizes = tables["parameter_count"][["run", "rank", "trainable_parameters"]]
    points = points.merge(sizes, how="left")
    trained = points["trainable_parameters"].astype(float)
    parameters = np.log10(trained.where(trained > 0))
    numbers = ["forgetting", "task_kl", "update_norm", "rank", "parameters"]
    columns = [*_KEYS, "suite", *numbers]
    points = points.assign(parameters=parameters).reindex(columns=columns)
    return points.astype(dict.fromkeys(numbers, float))


def _rows(points: pd.DataFrame, name: str) -> Iterator[dict[str, float]]:
    """Fit one predictor, and yield its row; none with too few points."""
    configurations = points["configuration"].nunique()
    values = points[name].to_numpy(float)
    if configurations < 2 or len(points) < _FEWEST or np.ptp(values) == 0:
        return
    row: dict[str, float] = {
        "r_squared": r_squared(values, points["forgetting"].to_numpy(float)),
        "n_points": len(points), "n_configurations": configurations,
    }  # fmt: skip
    blocks = _blocks(points, name)
    if blocks is not None:
        null = _null(*blocks)
        # the identity is one of them, and as large as the observed R² up to rounding
        as_large = int((null >= row["r_squared"] - 1e-12).sum())
        row |= {"null_r_squared": float(null.mean()), "p_value": as_large / len(null),
                "n_permutations": len(null)}  # fmt: skip
    yield row


def r_squared(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the share of the variance of y that a quadratic in x explains.

    Args:
        x: values of the predictor, shape (n,).
        y: outcomes, shape (n,).

    Returns:
        Between 0 and 1; 0 if y does not vary.
    """
    scaled = (x - x.mean()) / (x.std() or 1.0)
    design = np.stack([np.ones_like(scaled), scaled, scaled**2], axis=1)  # (n, 3)
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - fitted) ** 2).sum()) / total if total > 0 else 0.0


def _blocks(
    points: pd.DataFrame, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Arrange predictor and outcome as (configurations, seeds x steps); None if grids differ."""
    arranged = [
        points.pivot_table(index="configuration", columns=["seed", "step"], values=one)
        for one in (name, "forgetting")
    ]
    x, y = (one.to_numpy(float) for one in arranged)
    return None if np.isnan(x).any() or np.isnan(y).any() else (x, y)


def _null(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """R² with the predictors of permuted configurations, the identity first."""
    n = len(x)
    if factorial(n) <= _DRAWS + 1:
        orders = [list(order) for order in permutations(range(n))]
    else:
        rng = np.random.default_rng(0)
        orders = [list(range(n)), *(rng.permutation(n).tolist() for _ in range(_DRAWS))]
    return np.array([r_squared(x[order].ravel(), y.ravel()) for order in orders])

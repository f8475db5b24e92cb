"""Write reports/statistics/: errors, bias and runs of studies until their claims are decided.

python analyses/simulated_sequential.py

Differences of two configurations are simulated from the mixed model with crossed seeds and items,
whose variance components are those of the published studies, and judged as claims judge them: by
peftlens' own intervals, at the levels of its looks. Ten minutes on one core.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.numerics.alpha_spending import look_levels
from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.studies.decisions import Decisions

FOLDER = Path(__file__).parent.parent / "reports" / "statistics"
ALPHA = 0.025  # one-sided
ITEM, RESIDUAL = 0.0005, 0.066  # of the difference of two LoRA ranks on headlines
ITEMS = 400  # test examples
RATES = 5  # learning rates of each configuration
# steps of the race in whole runs: 5 rates to a quarter, 3 to a half, 2 to the end
RACE = 5 * 0.25 + 3 * 0.25 + 2 * 0.5
Scores = NDArray[np.float64]


def differences(
    rng: np.random.Generator, mean: float, seed_sd: float, seeds: int, items: int
) -> Scores:
    """Simulate the differences of two configurations, shape (seeds, items)."""
    return (
        mean
        + rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, ITEM**0.5, (1, items))
        + rng.normal(0, RESIDUAL**0.5, (seeds, items))
    )


def decided_at(values: Scores, decisions: Decisions, spends: bool = True) -> tuple[int, int]:
    """Look at a growing number of seeds until the interval excludes zero.

    Args:
        values: differences, shape (seeds of all looks, items).
        decisions: number of looks and seeds.
        spends: whether the looks share the level; otherwise each has all of it.

    Returns:
        1 if the difference is judged to be positive, -1 if negative, 0 if undecided; and the number
        of seeds then.
    """
    shared = look_levels(ALPHA, decisions.looks)
    for look, level in enumerate(shared if spends else [ALPHA] * decisions.looks, 1):
        seeds = decisions.n_seeds(look)
        estimate = crossed_estimate(values[:seeds])
        if estimate.p_above(0) <= level:
            return 1, seeds
        if estimate.p_below(0) <= level:
            return -1, seeds
    return 0, decisions.n_seeds(decisions.looks)


def false_decisions(studies: int) -> Iterator[dict[str, object]]:
    """Yield how often a difference is found where there is none, at up to so many looks."""
    for looks in (1, 3, 6):
        decisions = Decisions(looks=looks)
        for seed_sd in (0.0, 0.01, 0.03):
            for items in (100, 400):
                rng = np.random.default_rng(0)
                seeds = decisions.n_seeds(looks)
                found = [
                    (
                        decided_at(values, decisions)[0] != 0,
                        decided_at(values, decisions, spends=False)[0] != 0,
                    )
                    for values in (
                        differences(rng, 0.0, seed_sd, seeds, items) for _ in range(studies)
                    )
                ]
                spent, unspent = np.mean(found, axis=0)
                yield {
                    "looks": looks,
                    "seed_sd_points": 100 * seed_sd,
                    "items": items,
                    "studies": studies,
                    "false_decisions": spent,
                    "false_decisions_at_the_whole_level": unspent,
                }


def selection_bias(studies: int) -> Iterator[dict[str, object]]:
    """Yield the bias of the score of the chosen rate, on the race's seeds and on fresh ones.

    A run's quality is that of its rate plus the noise of its seed; validation and test examples
    measure it with noise of their own. All rates are equally good.
    """
    for rates, seeds, seed_sd in ((5, 2, 0.02), (5, 3, 0.02), (10, 2, 0.02), (5, 2, 0.04)):
        rng = np.random.default_rng(0)
        same, fresh = [], []
        for _ in range(studies):
            quality = rng.normal(0, seed_sd, (2, rates, seeds))  # of the race, and of fresh seeds
            noise = rng.normal(0, (0.16 / 200) ** 0.5, (rates, seeds))  # of 200 examples
            best = int((quality[0] + noise).mean(axis=1).argmax())
            tested = quality + rng.normal(0, (0.16 / 400) ** 0.5, quality.shape)
            same.append(tested[0, best].mean())
            fresh.append(tested[1, best].mean())
        error = np.std(fresh) / studies**0.5
        yield {
            "rates": rates,
            "seeds": seeds,
            "seed_sd_points": 100 * seed_sd,
            "studies": studies,
            "bias_on_the_same_seeds_points": 100 * np.mean(same),
            "bias_on_fresh_seeds_points": 100 * np.mean(fresh),
            "standard_error_points": 100 * error,
        }


def power(effect: float, seed_sd: float, seeds: int, studies: int) -> float:
    """Return the power of one look with so many seeds."""
    rng = np.random.default_rng(1)
    found = [
        crossed_estimate(differences(rng, effect, seed_sd, seeds, ITEMS)).p_above(0) <= ALPHA
        for _ in range(studies)
    ]
    return float(np.mean(found))


def sizes(studies: int) -> Iterator[dict[str, object]]:
    """Yield the runs of both designs at equal power, for effects of several sizes.

    The fixed design trains two configurations at every rate on all of its seeds. A fixed design
    that races the rates as well saves the same runs there, and has its own column.
    """
    decisions = Decisions()
    most = decisions.n_seeds(decisions.looks)
    for effect, seed_sd in ((0.02, 0.01), (0.03, 0.02), (0.03, 0.01), (0.06, 0.02), (0.0, 0.01)):
        rng = np.random.default_rng(0)
        ends = [
            decided_at(differences(rng, effect, seed_sd, most, ITEMS), decisions)
            for _ in range(studies)
        ]
        decided = float(np.mean([outcome == 1 for outcome, _ in ends]))
        seeds = float(np.mean([used for _, used in ends]))
        equal = _seeds_of_equal_power(effect, seed_sd, decided, studies) if effect else most
        racing = 2 * decisions.selection_seeds * RACE
        sequential, fixed = racing + 2 * seeds, 2 * RATES * equal
        yield {
            "effect_points": 100 * effect,
            "seed_sd_points": 100 * seed_sd,
            "studies": studies,
            "power": decided,
            "mean_seeds": seeds,
            "runs": sequential,
            "runs_of_the_race": racing,
            "fixed_seeds": equal,
            "fixed_runs": fixed,
            "fixed_runs_after_a_race": racing + 2 * equal,
            "ratio": fixed / sequential,
        }


def _seeds_of_equal_power(effect: float, seed_sd: float, target: float, studies: int) -> int:
    """Return the least number of seeds of a fixed design with this power."""
    most = 20
    for seeds in range(2, most):
        if power(effect, seed_sd, seeds, studies) >= target:
            return seeds
    return most


def write(name: str, rows: Sequence[dict[str, object]]) -> None:
    """Write one table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(4).to_csv(FOLDER / f"{name}.csv", index=False)


def main() -> None:
    """Write all tables."""
    write("sequential_errors", list(false_decisions(1000)))
    write("selection_bias", list(selection_bias(10_000)))
    write("sequential_sizes", list(sizes(1000)))


if __name__ == "__main__":
    main()

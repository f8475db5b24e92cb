"""Write the tables of docs/statistics.md: coverage, errors and sizes of studies, by simulation.

python analyses/simulated_statistics.py

Scores are simulated from a mixed model with crossed seeds and items, whose variance components are
those of the published studies. Every interval or test is that of peftlens; for comparison, so are
two earlier ones: the pigeonhole bootstrap over seeds and items (Owen 2007, Annals of Applied
Statistics 1, 386-411), and Student's t over the seeds' means. Five minutes on one core.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from peftlens.claims import by_half
from peftlens.claims.combine_conflict import correlation
from peftlens.claims.framed_prompts import mean_over_tasks
from peftlens.claims.memorization import with_rows
from peftlens.numerics.auc import auc
from peftlens.numerics.continual_metrics import sum_of_means
from peftlens.numerics.mixed_model import (
    Estimate,
    VarianceComponents,
    crossed_estimate,
    holm,
    pooled_seeds,
)
from peftlens.numerics.sample_size import MarginTest, items_needed, power
from peftlens.results.cost_ratio import points
from peftlens.results.run_evidence import mean_over_runs

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
Scores = NDArray[np.float64]
# Variance components of the difference of two LoRA ranks on headlines, three seeds.
ITEM, RESIDUAL = 0.0005, 0.066


def differences(
    rng: np.random.Generator, seed_sd: float, seeds: int, items: int, residual: float = RESIDUAL
) -> Scores:
    """Simulate the differences of two configurations whose true difference is zero."""
    return (
        rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, ITEM**0.5, (1, items))
        + rng.normal(0, residual**0.5, (seeds, items))
    )


def pigeonhole(values: Scores, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval by resampling seeds and items independently of each other."""
    seeds, items = values.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=500) / seeds
    columns = rng.multinomial(items, np.full(items, 1 / items), size=500) / items
    low, high = np.quantile(np.einsum("bs,si,bi->b", rows, values, columns), [0.025, 0.975])
    return float(low), float(high)


def over_seeds(values: Scores, _: np.random.Generator) -> tuple[float, float]:
    """95 % interval by Student's t over the seeds' means."""
    means = values.mean(axis=1)
    half = t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
    return means.mean() - half, means.mean() + half


def mixed(values: Scores, _: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the mixed model."""
    estimate = crossed_estimate(values)
    return float(estimate.low or 0), float(estimate.high or 0)


INTERVALS: Mapping[str, Callable[[Scores, np.random.Generator], tuple[float, float]]] = {
    "mixed model": mixed,
    "pigeonhole bootstrap": pigeonhole,
    "t over seeds": over_seeds,
}


def coverage(draws: int) -> Iterator[dict[str, object]]:
    """Yield how often intervals of each kind hold the true difference, and how wide they are."""
    for seed_sd, seeds, items in (
        (0.0, 3, 300), (0.01, 3, 300), (0.03, 3, 300), (0.0, 10, 300), (0.02, 10, 300),
        (0.0, 3, 100), (0.01, 5, 1200),
    ):  # fmt: skip
        rng = np.random.default_rng(0)
        simulated = [differences(rng, seed_sd, seeds, items) for _ in range(draws)]
        row = {"noise of seeds, points": 100 * seed_sd, "seeds": seeds, "items": items}
        for name, interval in INTERVALS.items():
            ends = np.array([interval(values, rng) for values in simulated])
            row[name] = f"{((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean():.1%}"
            row[f"{name}: width"] = f"±{50 * np.diff(ends, axis=1).mean():.1f}"
        yield row


def fixed_items(draws: int) -> Iterator[dict[str, object]]:
    """Yield the coverage for one score, whose items vary most: accuracy of a task of 100 items."""
    for seed_sd in (0.01, 0.02, 0.04):
        rng = np.random.default_rng(0)
        simulated = [
            rng.normal(0, seed_sd, (3, 1))
            + rng.normal(0, 0.135**0.5, (1, 100))
            + rng.normal(0, 0.045**0.5, (3, 100))
            for _ in range(draws)
        ]
        row: dict[str, object] = {"noise of seeds, points": 100 * seed_sd}
        for name, interval in INTERVALS.items():
            ends = np.array([interval(values, rng) for values in simulated])
            row[name] = f"{((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean():.1%}"
        yield row


def pooling(draws: int) -> Iterator[dict[str, object]]:
    """Yield what it brings to pool the noise of seeds over six configurations, alike or not."""
    alike, loud = [0.015] * 6, [0.005] * 5 + [0.04]
    for name, noise in (("six alike", alike), ("one of six noisier", loud)):
        rng = np.random.default_rng(0)
        inside: dict[str, list[bool]] = {"own": [], "pooled": []}
        width: dict[str, list[float]] = {"own": [], "pooled": []}
        last: dict[str, list[bool]] = {"own": [], "pooled": []}
        for _ in range(draws):
            scores = [differences(rng, one, 3, 300, RESIDUAL / 2) for one in noise]
            pairs = {(a, b): scores[a] - scores[b] for a, b in combinations(range(6), 2)}
            shared = pooled_seeds([*pairs.values()], 6)
            for pair, values in pairs.items():
                for kind, seed in (("own", None), ("pooled", shared)):
                    one = crossed_estimate(values, seed=seed)
                    inside[kind].append(abs(one.value) <= (one.high or 0) - one.value)
                    width[kind].append((one.high or 0) - one.value)
                    if 5 in pair:
                        last[kind].append(inside[kind][-1])
        for kind in inside:
            yield {
                "configurations": name,
                "noise of seeds": kind,
                "coverage": f"{np.mean(inside[kind]):.1%}",
                "of the pairs with the last one": f"{np.mean(last[kind]):.1%}",
                "mean half-width, points": f"{100 * np.mean(width[kind]):.1f}",
            }


def _task(rng: np.random.Generator, seeds: int = 3, items: int = 300) -> Scores:
    return differences(rng, 0.01, seeds, items)


def _over_tasks(rng: np.random.Generator) -> tuple[Estimate, float]:
    return mean_over_tasks([crossed_estimate(_task(rng)) for _ in range(2)]), 0.0


def _in_sequence(rng: np.random.Generator) -> tuple[Estimate, float]:
    """Sum of two tasks' means, whose seeds have a part in common."""
    values = np.hstack([_task(rng, 5, 300), _task(rng, 5, 150)]) + rng.normal(0, 0.01, (5, 1))
    return sum_of_means(values, [0] * 300 + [1] * 150), 0.0


def _over_runs(n: int, rng: np.random.Generator) -> tuple[Estimate, float]:
    return mean_over_runs(rng.normal(0, 1, n)), 0.0


def _of_costs(n: int, rng: np.random.Generator) -> tuple[Estimate, float]:
    """Logarithm of the ratio of two costs over rounds, each disturbed by 2 %."""
    columns = {"round": range(n), "tokens": 8, "rows": 1, "length": 8, "flops": 1.0}
    both = [pd.DataFrame(columns | {"configuration": name, "control": False,
                                    "seconds": np.exp(rng.normal(0, 0.02, n))})
            for name in "ab"]  # fmt: skip
    (point,) = points(pd.concat(both))
    ratio = point.ratio("a", "b", "seconds")
    assert ratio is not None
    return Estimate(ratio.value, ratio.low, ratio.high), 1.0


def _of_prompts(n: int, share: float, rng: np.random.Generator) -> tuple[Estimate, float]:
    judged = by_half(pd.Series(rng.random(n) < share, dtype=float), "")
    return judged.comparisons[0].estimate, share


def _of_attacks(rng: np.random.Generator) -> tuple[Estimate, float]:
    """Difference of two AUCs of 0.64 over 3 seeds, on rows that are half as hard for both."""
    rows, members = rng.normal(0, 0.5**0.5, 600), np.arange(600) < 300
    found = [[auc(*np.split(rows + 0.5 * members + rng.normal(0, 0.5**0.5, 600)
                            + rng.normal(0, 0.1) * members, 2)) for _ in range(3)]
             for _ in range(2)]  # fmt: skip
    values, widths = (np.array([[get(one) for one in each] for each in found])
                      for get in (lambda one: one.value,
                                  lambda one: one.interval.high - one.interval.low))  # fmt: skip
    variance = float(np.square(widths / (2 * 1.959964)).mean(axis=1).sum())
    return with_rows(mean_over_runs(values[0] - values[1]), variance), 0.0


def _of_pairs(n: int, rng: np.random.Generator) -> tuple[Estimate, float]:
    """Rank correlation of 0.3 over all pairs of n tasks, to which both tasks contribute."""
    rho = 2 * np.sin(np.pi * 0.3 / 6)  # of a bivariate normal distribution
    tasks = rng.multivariate_normal([0, 0], [[9, 9 * rho], [9 * rho, 9]], n)
    rows = [
        {"pair": (str(a), str(b)), "canceled": x, "lost": y}
        for a, b in combinations(range(n), 2)
        for x, y in [tasks[a] + tasks[b] + rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]])]
    ]
    return correlation(pd.DataFrame(rows)), float(np.arctanh(0.3))


ESTIMATORS: Mapping[str, Callable[[np.random.Generator], tuple[Estimate, float]]] = {
    "mean of 2 tasks, each of 3 seeds x 300 items": _over_tasks,
    "sum over tasks of a sequence, 5 seeds x 450 items": _in_sequence,
    "mean over 3 runs": partial(_over_runs, 3),
    "mean over 6 runs": partial(_over_runs, 6),
    "ratio of costs, 3 rounds": partial(_of_costs, 3),
    "ratio of costs, 5 rounds": partial(_of_costs, 5),
    "share of 6 prompts, in truth 50 %": partial(_of_prompts, 6, 0.5),
    "share of 20 prompts, in truth 50 %": partial(_of_prompts, 20, 0.5),
    "share of 20 prompts, in truth 80 %": partial(_of_prompts, 20, 0.8),
    "difference of AUCs, 3 seeds x 600 rows": _of_attacks,
    "rank correlation over pairs of 5 tasks": partial(_of_pairs, 5),
    "rank correlation over pairs of 10 tasks": partial(_of_pairs, 10),
}


def estimators(draws: int) -> Iterator[dict[str, object]]:
    """Yield the coverage of the other intervals by which claims are judged."""
    for name, draw in ESTIMATORS.items():
        rng, inside = np.random.default_rng(0), 0
        for _ in range(draws):
            one, truth = draw(rng)
            assert one.low is not None and one.high is not None
            inside += one.low <= truth <= one.high
        yield {"estimate": name, "coverage": f"{inside / draws:.1%}"}


def planned(draws: int) -> Iterator[dict[str, object]]:
    """Yield the sizes that are planned for power 0.8 at the margins, and the power they have."""
    ranks = VarianceComponents(0, ITEM, RESIDUAL)
    loud = VarianceComponents(0.0001, ITEM, RESIDUAL)
    score = VarianceComponents(0.0004, 0.14, 0.045)
    for name, noise, test, seeds in (
        ("no worse by 1 point, one comparison", ranks, MarginTest(low=-0.01), 10),
        ("no worse by 1 point, one of five", ranks, MarginTest(low=-0.01, alpha=0.005), 10),
        ("equal within 1 point", ranks, MarginTest(low=-0.01, high=0.01, alpha=0.05), 10),
        ("no worse by 2 points", ranks, MarginTest(low=-0.02), 5),
        ("no worse by 2 points, noisier seeds", loud, MarginTest(low=-0.02), 10),
        ("better by 6 points than a fixed score", score, MarginTest(low=0, effect=0.06), 5),
    ):
        items = items_needed(noise, test, seeds)
        assert items is not None
        rng, found = np.random.default_rng(0), 0
        for _ in range(draws):
            one = crossed_estimate(
                rng.normal(test.effect, noise.seed**0.5, (seeds, 1))
                + rng.normal(0, noise.item**0.5, (1, items))
                + rng.normal(0, noise.residual**0.5, (seeds, items))
            )
            sides = [1.0 if test.low is None else one.p_above(test.low),
                     0.0 if test.high is None else one.p_below(test.high)]  # fmt: skip
            found += max(sides) <= test.alpha
        yield {"test": name, "noise of seeds, points": 100 * noise.seed**0.5, "seeds": seeds,
               "items planned": items, "planned power": f"{power(noise, test, seeds, items):.0%}",
               "power": f"{found / draws:.0%}"}  # fmt: skip


def errors(draws: int) -> Iterator[dict[str, object]]:
    """Yield how often at least one of several equal methods seems to differ."""
    for tests in (2, 5, 10):
        rng = np.random.default_rng(0)
        plain, corrected = 0, 0
        for _ in range(draws):
            p = [crossed_estimate(differences(rng, 0.01, 5, 100)).p_value or 0.0
                 for _ in range(tests)]  # fmt: skip
            plain += min(p) <= 0.05
            corrected += holm(p).min() <= 0.05
        yield {
            "comparisons": tests,
            "each at 5 %": f"{plain / draws:.1%}",
            "with Holm's correction": f"{corrected / draws:.1%}",
        }


def sizes(draws: int) -> Iterator[dict[str, object]]:
    """Yield how often studies of LoRA ranks decide, where in truth there is no difference."""
    for seeds, items in ((3, 300), (3, 419), (5, 419), (10, 419), (10, 1200)):
        for seed_sd in (0.0, 0.01):
            rng = np.random.default_rng(0)
            found = [crossed_estimate(differences(rng, seed_sd, seeds, items))
                     for _ in range(draws)]  # fmt: skip
            seen = [one.detectable() or 0.0 for one in found]
            row: dict[str, object] = {
                "seeds": seeds, "items": items, "noise of seeds, points": 100 * seed_sd,
                "seen with power 0.8, points": f"{100 * float(np.mean(seen)):.1f}",
            }  # fmt: skip
            for margin in (0.01, 0.02):
                decided = np.mean([one.p_above(-margin) <= 0.025 for one in found])
                row[f"decided at {100 * margin:.0f} points"] = f"{decided:.0%}"
            yield row


TABLES = {
    "coverage": partial(coverage, 2000),
    "fixed_items": partial(fixed_items, 2000),
    "pooling": partial(pooling, 300),
    "errors": partial(errors, 2000),
    "sizes": partial(sizes, 1000),
    "planned": partial(planned, 1000),
    "estimators": partial(estimators, 2000),
}


def markdown(rows: Iterator[dict[str, object]]) -> str:
    """Format the rows as a Markdown table."""
    frame = pd.DataFrame(rows)
    lines = [[*frame.columns], ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Replace the tables of the page, each between its two marks."""
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        after = rest.partition(f"<!-- /{name} -->")[2]
        text = f"{before}<!-- {name} -->\n{markdown(rows())}<!-- /{name} -->{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

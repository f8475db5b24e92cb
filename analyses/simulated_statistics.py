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

from peftlens.numerics.mixed_model import crossed_estimate, holm, pooled_seeds

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

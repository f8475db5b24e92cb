"""Comparisons that verdicts rest on: estimate, margins, and the size of a study that decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from scipy.stats import binomtest

from peftlens.numerics.alpha_spending import look_levels
from peftlens.numerics.counts import counted
from peftlens.numerics.mixed_model import POWER, Estimate, VarianceComponents, holm
from peftlens.numerics.sample_size import (
    MarginTest,
    items_needed,
    seeds_needed,
    trials_needed,
)

Outcome = Literal["supported", "contradicted", "insufficient evidence", "not measured"]
SEEDS = 10  # number of seeds at which the number of items is given
_MORE_SEEDS = tuple(SEEDS * 2**n for n in range(8))
LIKELY = 0.8  # share of runs with a property that most are said to have


class Margins(TypedDict, total=False):
    """Margins of a comparison and its planned effect, as the keywords of `Comparison`."""

    low: float
    high: float
    effect: float


@dataclass(frozen=True)
class Requirement:
    """Size of a study that decides.

    Attributes:
        seeds: number of seeds, or of what takes their place, with as many items as now; None if
            more never suffice.
        items: number of items with `items_at` seeds, which is another way; None if the noise of
            items is unknown.
        items_at: number of seeds for `items`: ten, or more where else nothing suffices.
    """

    seeds: int | None
    items: int | None = None
    items_at: int = SEEDS

    @property
    def least_seeds(self) -> int | None:
        """Number of seeds with as many items as now, or of the other way where none suffices."""
        if self.seeds is None and self.items is not None:
            return self.items_at
        return self.seeds


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A tested comparison of a claim, which holds if its mean lies beyond or between margins.

    Attributes:
        what: what is compared.
        estimate: estimated mean; positive and negative as the margins have it.
        low: margin above which the claim holds; None without one.
        high: margin below which the claim holds; None without one.
        effect: true mean at which a study should decide with power 0.8: zero for non-inferiority
            and equivalence, the least effect of interest for superiority.
        unit: unit of the estimate and the margins.
        n_seeds: number of seeds, or of what takes their place.
        noun: what `n_seeds` counts: seeds; runs, over seeds and tasks; or pairs of such runs.
        n_items: number of items that each seed is scored on; None without items.
        configurations: names of the compared configurations, without learning rates.
        kind: a mean over seeds and items, or a share of independent runs, tested exactly.
    """

    what: str
    estimate: Estimate
    low: float | None = None
    high: float | None = None
    effect: float = 0.0
    unit: str = "1"
    n_seeds: int
    noun: Literal["seed", "run", "pair"] = "seed"
    n_items: int | None = None
    configurations: tuple[str, ...] = ()
    kind: Literal["mean", "share"] = "mean"

    @property
    def holds(self) -> float:
        """One-sided p of the hypothesis that the claim's side is not true.

        Of an equivalence half of the larger p, as its tests are at twice the level (TOST).
        """
        if self.kind == "share":
            return self._exact("greater")
        above = 0.0 if self.low is None else self.estimate.p_above(self.low)
        below = 0.0 if self.high is None else self.estimate.p_below(self.high)
        return max(above, below) / (2 if self._is_equivalence else 1)

    @property
    def fails(self) -> float:
        """One-sided p of the hypothesis that the claim's side is true."""
        if self.kind == "share":
            return self._exact("less")
        below = 1.0 if self.low is None else self.estimate.p_below(self.low)
        above = 1.0 if self.high is None else self.estimate.p_above(self.high)
        return min(below, above)

    def required(
        self, alpha: float, comparisons: int = 1, looks: int = 1, power: float = POWER
    ) -> Requirement | None:
        """Plan a study that decides; None if the noise is unknown, as with a single seed.

        Of several comparisons one may be enough to decide, which Holm's correction tests at a part
        of the level first, or all may have to agree, which divides the chance to miss. A study for
        the harder of the two is planned, and so one that decides whichever is true.

        Args:
            alpha: one-sided level of the claim.
            comparisons: number of comparisons of the claim.
            looks: number of times that the claim is judged as the study grows.
            power: probability of a decision if the true mean is the effect.
        """
        level = look_levels(alpha, looks)[-1]
        designs = (level / comparisons, power), (level, 1 - (1 - power) / comparisons)
        if self.kind == "share":
            return Requirement(_largest(trials_needed(LIKELY, *one) for one in designs))
        noise = self._noise()
        if noise is None:
            return None
        tests = [(self._test(level), least) for level, least in designs]
        n_items = self.n_items or 1
        seeds = _largest(seeds_needed(noise, test, n_items, least) for test, least in tests)
        if noise.item or noise.residual:
            for n in _MORE_SEEDS if seeds is None else _MORE_SEEDS[:1]:
                items = _largest(items_needed(noise, test, n, least) for test, least in tests)
                if items is not None:
                    return Requirement(seeds, items, n)
        return Requirement(seeds)

    @property
    def _is_equivalence(self) -> bool:
        return self.low is not None and self.high is not None

    def _test(self, level: float) -> MarginTest:
        level *= 2 if self._is_equivalence else 1
        return MarginTest(low=self.low, high=self.high, effect=self.effect, alpha=level)

    def _noise(self) -> VarianceComponents | None:
        """Return the variance components, or the whole variance as that of seeds."""
        one = self.estimate
        if one.components is not None:
            return one.components
        if self.n_seeds < 2 or one.standard_error is None or not one.degrees_of_freedom:
            return None
        freedom = one.degrees_of_freedom if np.isfinite(one.degrees_of_freedom) else 0.0
        contrasts = max(freedom / (self.n_seeds - 1), 1.0)
        return VarianceComponents(one.standard_error**2 * self.n_seeds, contrasts=contrasts)

    def _exact(self, side: Literal["greater", "less"]) -> float:
        count = round(self.estimate.value * self.n_seeds)
        return float(binomtest(count, self.n_seeds, alternative=side).pvalue)


def all_hold(comparisons: Sequence[Comparison], alpha: float) -> bool | None:
    """Return whether all of several comparisons hold: True, False, or None if that is open.

    All of several tests need no correction (Berger 1982, Technometrics 24, 295-300); one of several
    that fails is tested with Holm's.

    Args:
        comparisons: at least one.
        alpha: one-sided joint level.
    """
    if min(holm([one.fails for one in comparisons])) <= alpha:
        return False
    return True if max(one.holds for one in comparisons) <= alpha else None


def deciding(outcome: Outcome, comparisons: Sequence[Comparison], alpha: float) -> list[Comparison]:
    """Select the comparisons on which an outcome hangs: those that are open, or that contradict.

    Args:
        outcome: verdict on the claim; of a supported one, or one that was not measured, none.
        comparisons: comparisons of the claim.
        alpha: one-sided level of the claim.
    """
    if outcome == "contradicted":
        corrected = holm([one.fails for one in comparisons])
        return [one for one, p in zip(comparisons, corrected, strict=True) if p <= alpha]
    if outcome != "insufficient evidence":
        return []
    level = alpha / max(1, len(comparisons))  # Holm's first step
    return [one for one in comparisons if min(one.holds, one.fails) > level]


def widest(
    outcome: Outcome, comparisons: Sequence[Comparison], alpha: float, looks: int = 1
) -> tuple[Comparison, Requirement] | None:
    """Return the comparison that needs the largest study, with its size; None if none is known.

    Args:
        outcome: verdict on the claim.
        comparisons: comparisons of the claim, of which those count that `deciding` selects.
        alpha: one-sided level of the claim.
        looks: number of times that the claim is judged as the study grows.
    """
    n = len(comparisons)
    hanging = deciding(outcome, comparisons, alpha)
    sizes = [(one, one.required(alpha, n, looks)) for one in hanging]
    known = [(one, size) for one, size in sizes if size is not None]
    if not known:
        return None
    return max(known, key=lambda pair: (pair[1].seeds or np.inf, pair[0].n_seeds))


def size_text(outcome: Outcome, comparisons: Sequence[Comparison], alpha: float) -> str:
    """Say which size of a study decides, beside a verdict that is not supported.

    Beside a contradicted one it is the size of the comparisons that contradict by the absence of an
    effect. Empty where the noise is unknown, and where an interval lies beyond the margin of an
    equivalence, or on the other side of zero than the effect: that is seen, and needs no power.

    Args:
        outcome: verdict on the claim.
        comparisons: comparisons that it rests on.
        alpha: one-sided level of the claim.
    """
    found = widest(outcome, comparisons, alpha)
    if found is None:
        return ""
    if outcome == "contradicted" and _is_seen(comparisons, alpha):
        return ""
    one, size = found
    ways = " or ".join(_ways(one, size))
    if outcome == "contradicted":
        effect = _effect_text(one)
        text = f"Had the truth been {effect}, {ways} would have shown it with power {POWER}."
    elif size.seeds is not None and size.seeds <= one.n_seeds:
        return (
            f"{counted(size.seeds, one.noun)} of such noise have power {POWER} already: the true "
            "value seems to be near a margin."
        )
    else:
        text = f"With power {POWER}, {ways} would decide."
    return text if ways else ""


def _is_seen(comparisons: Sequence[Comparison], alpha: float) -> bool:
    """Whether a contradiction is an effect that was seen, and not the absence of one."""
    return min(holm([*map(_opposite, comparisons)])) <= alpha


def _opposite(one: Comparison) -> float:
    """One-sided p of a mean beyond zero, or beyond the margins around it, against the claim."""
    if one.kind == "share":
        return 1.0
    if not one.effect:
        return one.fails
    return one.estimate.p_below(0.0) if one.effect > 0 else one.estimate.p_above(0.0)


def _ways(one: Comparison, size: Requirement) -> list[str]:
    """Describe the sizes of a study, as parts of a sentence."""
    ways = [] if size.seeds is None else [f"about {counted(size.seeds, one.noun)}"]
    if size.items is not None and size.items > (one.n_items or 0):
        ways.append(
            f"{counted(size.items_at, one.noun)} with {counted(size.items, 'example')} each"
        )
    return ways


def _effect_text(one: Comparison) -> str:
    """Format the true value that is planned for."""
    if one.kind == "share":
        return f"{one.effect:.0%}"
    return (
        f"{100 * one.effect:+z.3g} points" if one.unit == "1" else f"{one.effect:+z.2g} {one.unit}"
    )


def _largest(sizes: Iterable[int | None]) -> int | None:
    """Return the largest of several sizes; None, for no size, is the largest of all."""
    found = [*sizes]
    return None if None in found else max(one for one in found if one is not None)

"""Decisions on effects with a margin: beyond it, within it, or open.

An effect *exceeds* a margin if the one-sided test against the margin rejects; it does not if the
opposite test does. Non-inferiority is such a test with a negative margin. Effects are *equivalent*
if all of them lie between two margins, by two one-sided tests each at twice the level, as an
interval of 90 % within the margins goes with one of 95 % (Schuirmann 1987, Journal of
Pharmacokinetics and Biopharmaceutics 15, 657-680). All of several tests need no correction
(Berger 1982, Technometrics 24, 295-300); one of several is tested with Holm's.
"""

from collections.abc import Sequence

from peftlens.numerics.mixed_model import Estimate, holm


def exceeds(effect: Estimate, margin: float, alpha: float) -> bool | None:
    """Return whether an effect is above a margin: True, False, or None if that is open.

    Args:
        effect: estimated effect.
        margin: the margin, in the unit of the effect.
        alpha: level of each one-sided test.
    """
    if effect.p_above(margin) <= alpha:
        return True
    return False if effect.p_below(margin) <= alpha else None


def equivalent(
    effects: Sequence[Estimate], low: float, high: float, alpha: float
) -> tuple[bool | None, list[bool]]:
    """Return whether all of several effects lie between two margins.

    Args:
        effects: estimated effects, at least one.
        low: lower margin, in the unit of the effects.
        high: upper margin.
        alpha: one-sided level of the tests of an effect outside; those of equivalence have twice
            the level.

    Returns:
        True, False, or None if that is open; and for each effect, whether it lies outside.
    """
    tails = [min(one.p_above(high), one.p_below(low)) for one in effects]
    outside = [bool(p <= alpha) for p in holm(tails)]
    if any(outside):
        return False, outside
    inside = all(max(one.p_above(low), one.p_below(high)) <= 2 * alpha for one in effects)
    return (True if inside else None), outside

"""A penalty, or replayed text, keeps a model from forgetting without costing accuracy.

Rule: each configuration with `training.keep` is compared with the one that differs in nothing else,
at the best fit of the task that both reach. It must increase the loss on text less (p over seeds
and texts, `forgetting_at_matched_fit`), and its test accuracy at its best learning rate must be
less than 2 points lower (`paired_accuracy`). It fails if it forgets more, or loses more than 2
points. All p-values are one-sided and adjusted for the number of comparisons (Holm), at 0.025. A
kind holds if it holds for every method that was trained with it, and fails if it fails for one.
Supported if a kind holds, contradicted if every kind fails. With one seed the evidence is
insufficient. A method without a fit that both reach shows only its accuracy, and its kind can't
hold. `orthogonal` keeps earlier tasks, not the base, and is not judged.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from peftlens.claims import ONE_SIDED, Judgment, Outcome, difference_text, paired, seeds
from peftlens.numerics.mixed_model import holm
from peftlens.results.comparisons import Comparison
from peftlens.results.estimate_columns import estimate_of
from peftlens.results.run_evidence import Evidence

CLAIM = "A penalty, or replayed text, keeps a model from forgetting without costing accuracy."
SOURCE = "Kirkpatrick et al. 2017, arXiv:1612.00796, for ewc; Li et al. 2018, arXiv:1802.01483"
NEEDS = ("forgetting_at_matched_fit", "paired_accuracy")
TO_MEASURE = (
    "train methods with and without training.keep over several seeds and learning rates with "
    "checkpoint_steps, on one task"
)
CRITERION = "at least one kind lets every method forget less, and costs less than two points"
PRACTICE = {
    "supported": "Train with one of the penalties or texts that hold here.",
    "contradicted": (
        "Test these before use: each made a method forget more, or cost over two points."
    ),
}
ANALYSIS = "mitigation"
MARGIN = 0.02  # of accuracy
EFFECT = 0.05  # nats per token, which a study should find


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> Judgment:
    """Judge each kind by its comparisons with the same configuration without it."""
    rows = _compared(tables["forgetting_at_matched_fit"])
    if rows.empty:
        return Judgment(
            "not measured",
            "No configuration was trained with and without training.keep to the same fit.",
        )
    found = rows.to_dict("records")
    compared = rows.dropna(subset=["diff_vs_plain"])
    accuracy = [
        paired(tables["paired_accuracy"], row["configuration"], row["plain"], low=-MARGIN)
        for row in found
    ]
    evidence = [_evidence(*one) for one in zip(found, accuracy, strict=True)]
    holds, fails = decide(evidence, alpha)
    kinds = rows["keep"].reset_index(drop=True)
    every, some = pd.Series(holds).groupby(kinds).all(), pd.Series(fails).groupby(kinds).any()
    texts = pd.Series([*map(_text, found, accuracy)]).groupby(kinds).agg("; ".join)
    groups = {"yes": every, "no": some & ~every, "undecided": ~every & ~some}
    shown = [
        f"{word} for {', '.join(f'{kind} ({texts[kind]})' for kind in group.index[group])}"
        for word, group in groups.items() if group.any()
    ]  # fmt: skip
    outcome: Outcome = "insufficient evidence"
    if every.any():
        outcome = "supported"
    elif some.all():
        outcome = "contradicted"
    over = f"{seeds(int(compared['n_seeds'].min()))} and {int(compared['n_items'].min())} texts"
    comparisons = (
        one for row, gap in zip(found, accuracy, strict=True) for one in _comparisons(row, gap)
    )
    sentence = (
        f"At equal fit, against the same method without, by p-values over {over} with Holm's "
        f"correction: {'; '.join(shown)}."
    )
    return Judgment(outcome, sentence, tuple(comparisons))


def decide(evidence: list[Evidence], alpha: float = ONE_SIDED) -> tuple[list[bool], list[bool]]:
    """Return for each comparison whether the property holds, and whether it fails."""
    holds = holm([one.holds for one in evidence]) <= alpha
    fails = (holm([one.fails for one in evidence]) <= alpha) & ~holds
    return holds.tolist(), fails.tolist()


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """Select each kept configuration's comparison at the best fit that both reach.

    A configuration without any has a row without a difference. Empty if all of them are.
    """
    if "keep" not in table:
        return table.iloc[:0]
    rows = table[table["keep"].notna() & (table["keep"] != "orthogonal")]
    found = rows.dropna(subset=["diff_vs_plain"])
    fit = found["level"].where(found["match"] != "loss", -found["level"])
    best = found[fit == fit.groupby([found["suite"], found["configuration"]]).transform("max")]
    rest = rows[~rows["configuration"].isin(found["configuration"])]
    return pd.concat([best, rest.drop_duplicates("configuration")]) if len(found) else found


def _comparisons(row: Mapping[Any, Any], accuracy: Comparison | None) -> list[Comparison]:
    """Return the comparisons of forgetting and of accuracy, if they are known."""
    if pd.isna(row["diff_vs_plain"]):
        return [] if accuracy is None else [accuracy]
    forgetting = Comparison(
        what=f"forgetting of {row['configuration']} against {row['plain']}",
        estimate=estimate_of(row, "diff_vs_plain", "diff_vs_plain_"),
        high=0.0,
        effect=-EFFECT,
        unit="nats per token",
        n_seeds=int(row["n_seeds"]),
        n_items=int(row["n_items"]),
        configurations=(str(row["configuration"]), str(row["plain"])),
    )
    return [forgetting] if accuracy is None else [forgetting, accuracy]


def _evidence(row: Mapping[Any, Any], accuracy: Comparison | None) -> Evidence:
    """Weigh the forgetting and the accuracy of one configuration; no evidence from one seed.

    Without a common fit nothing shows that it forgets less, but its accuracy can be too low.
    """
    p = row["diff_vs_plain_p_value"]
    if accuracy is None or accuracy.n_seeds < 2:
        return Evidence(1.0, 1.0)
    if pd.isna(p):
        return Evidence(1.0, min(1.0, 2 * accuracy.fails))
    less = p / 2 if row["diff_vs_plain"] < 0 else 1 - p / 2
    return Evidence(
        holds=max(less, accuracy.holds),
        fails=min(1.0, 2 * min(1 - less, accuracy.fails)),
    )


def _text(row: Mapping[Any, Any], accuracy: Comparison | None) -> str:
    fit = f"a loss of {row['level']:.2f}" if row["match"] == "loss" else f"{row['level']:.0%}"
    text = f"{row['plain']} at {fit} {row['diff_vs_plain']:+z.2f} nats per token"
    if pd.isna(row["diff_vs_plain"]):
        text = f"{row['plain']} at no fit that both reach"
    elif pd.notna(row["diff_vs_plain_ci_low"]):
        low, high = row["diff_vs_plain_ci_low"], row["diff_vs_plain_ci_high"]
        text += f", {low:+z.2f} to {high:+z.2f}"
    return text if accuracy is None else f"{text}, accuracy {difference_text(accuracy.estimate)}"

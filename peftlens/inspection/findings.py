"""Findings: rules that turn the tables of one adapter into sentences with a severity.

Severity: *broken* means that the adapter can't work, or has no effect; *warning* is unusual but may
be intended; *ok* is the result of a check that passed. The bounds of the rules are constants below.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from peftlens.results.table import measured

Severity = Literal["broken", "warning", "ok"]
_ORDER: tuple[Severity, ...] = ("broken", "warning", "ok")
_DOUBLE = 0.999  # cosine above which two vectors count as equal
_COLLAPSED = 0.9  # mean cosine above which the vectors count as parallel
_OUTLIER = 10  # multiple of the median above which a size is an outlier
_UNLIKE = 0.5  # CKA with the base model's states below which they count as unlike
_NEEDLESS = 0.25  # share of the rank below which, if it holds 95 % of every update, rank is wasted


@dataclass(frozen=True)
class Finding:
    """Result of one check of an adapter.

    Attributes:
        severity: broken, warning or ok.
        text: the result, in one sentence.
    """

    severity: Severity
    text: str


UNTRAINED = Finding(
    "broken",
    "The adapter has not been trained: what it changes is as before the first step, so the model "
    "equals its base model.",
)


def ordered(findings: Iterator[Finding] | list[Finding]) -> list[Finding]:
    """Sort findings, worst first."""
    return sorted(findings, key=lambda one: _ORDER.index(one.severity))


def judge(tables: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Apply all rules whose table exists to an adapter.

    Args:
        tables: tables of probes on this adapter, by probe name.
    """
    findings: list[Finding] = []
    for name, rule in _RULES.items():
        rows = measured(tables[name]) if name in tables else pd.DataFrame()
        if len(rows):
            findings += rule(rows)
    return ordered(findings)


def _weights(rows: pd.DataFrame) -> Iterator[Finding]:
    if bad := int(rows["not_finite"].sum()):
        where = _listed(rows[rows["not_finite"] > 0]["module"])
        yield Finding("broken", f"{bad} tensors hold NaN or infinite values: {where}.")
        return
    yield Finding("ok", f"All {int(rows['n_values'].sum()):,} numbers are finite.")
    with_norm = rows.dropna(subset=["norm"])
    if with_norm.empty:
        if (rows["zero"] == rows["tensors"]).all():
            yield Finding("broken", "Every number is zero: the adapter has not been trained.")
        return
    yield from _trained(with_norm, rows[rows["norm"].isna() & (rows["zero"] < rows["tensors"])])
    changed = with_norm[with_norm["norm"] > 0]
    if len(changed):
        yield from _exploded(changed)
        yield from _rank(changed)


def _trained(rows: pd.DataFrame, others: pd.DataFrame) -> Iterator[Finding]:
    """Judge the updates; a zero update is no defect where other tensors were trained."""
    dead = rows[rows["norm"] == 0]
    if len(dead) == len(rows) and len(others):
        yield Finding(
            "warning",
            f"The update of every weight is zero; only {_listed(others['module'])} can have been "
            "trained.",
        )
    elif len(dead) == len(rows):
        yield UNTRAINED
    elif len(dead):
        yield Finding(
            "warning",
            f"{len(dead)} of {len(rows)} weights have an update of zero: "
            f"{_listed(dead['module'])}.",
        )
    else:
        yield Finding("ok", f"All {len(rows)} adapted weights have an update.")


def _exploded(rows: pd.DataFrame) -> Iterator[Finding]:
    """Compare with the median of the same role: roles differ in size and in typical updates."""
    usual = rows.groupby("role")["norm"].transform("median")
    high = rows[rows["norm"] > _OUTLIER * usual]
    if len(high):
        yield Finding(
            "warning",
            f"{len(high)} weights have an update more than {_OUTLIER} times as large as the median "
            f"of their kind: {_listed(high['module'])}.",
        )


def _rank(rows: pd.DataFrame) -> Iterator[Finding]:
    rank, most, usual = (int(v) for v in (
        rows["rank"].max(), rows["k95"].max(), rows["k95"].median(),
    ))  # fmt: skip
    severity: Severity = "warning" if most <= _NEEDLESS * rank else "ok"
    enough = (
        f"; `peftlens resize --rank {most}` keeps that much of each. Only evaluation shows whether "
        "the task needs the rest"
        if most < rank
        else ""
    )
    yield Finding(
        severity,
        f"Of {rank} directions {usual} hold 95 % of ‖ΔW‖² in the median weight, at most "
        f"{most}{enough}.",
    )


def _vectors(rows: pd.DataFrame) -> Iterator[Finding]:
    n = len(rows)
    zero = rows[rows["norm"] == 0]
    if len(zero):
        severity: Severity = "broken" if len(zero) == n else "warning"
        yield Finding(severity, f"{len(zero)} of {n} vectors are zero.")
    doubles = rows[rows["cosine"].fillna(0) > _DOUBLE]
    if len(doubles):
        yield Finding(
            "warning",
            f"{len(doubles)} of {n} vectors have the same direction as another one (cosine above "
            f"{_DOUBLE}): {_listed(doubles['position'])}.",
        )
    mean = float(rows["mean_cosine"].astype("Float64").mean()) if n > 1 else 0.0
    if mean > _COLLAPSED:
        yield Finding(
            "warning",
            f"The vectors have collapsed: their mean cosine is {mean:z.2f}, and together they have "
            f"{rows['directions'].iloc[0]:.1f} directions.",
        )
    elif n > 1 and not len(zero):
        yield Finding(
            "ok",
            f"{n} vectors, lengths {rows['norm'].min():.3g} to {rows['norm'].max():.3g}, with "
            f"{rows['directions'].iloc[0]:.1f} directions and a mean cosine of {mean:z.2f}.",
        )
    long = rows[rows["norm"] > _OUTLIER * rows["norm"].median()]
    if len(long):
        yield Finding(
            "warning",
            f"{len(long)} vectors are more than {_OUTLIER} times as long as the median: "
            f"{_listed(long['position'])}.",
        )


def _relative(rows: pd.DataFrame) -> Iterator[Finding]:
    """Compare updates with their weights; a larger one has overwritten its weight."""
    most, usual = rows["relative_norm"].max(), rows["relative_norm"].median()
    over = rows[rows["relative_norm"] > 1]
    if len(over):
        yield Finding(
            "warning",
            f"{len(over)} of {len(rows)} updates are larger than the weight that they change, up "
            f"to {most:.1f} times: {_listed(over['weight'])}.",
        )
    else:
        yield Finding(
            "ok",
            f"The update is {usual:.2g} of its weight in the median, at most {most:.2g} "
            "(‖ΔW‖ / ‖W₀‖).",
        )


def _intruders(rows: pd.DataFrame) -> Iterator[Finding]:
    count, total = int(rows["intruders"].sum()), int(rows["directions"].sum())
    if not count:
        yield Finding("ok", f"No intruder dimensions among the {total} strongest directions.")
        return
    with_intruders = rows[rows["intruders"] > 0]
    yield Finding(
        "warning",
        f"{count} of the {total} strongest directions are intruders, far from every direction of "
        f"W₀, in {len(with_intruders)} weights: {_listed(with_intruders['weight'])}; they are "
        "associated with forgetting (arXiv:2410.21228).",
    )


def _amplified(rows: pd.DataFrame) -> Iterator[Finding]:
    yield Finding(
        "ok",
        f"In the median weight the update amplifies its directions "
        f"{rows['amplification'].median():.2g} times; for random directions it would be "
        f"{rows['random_amplification'].median():.2g}.",
    )


def _shifted(rows: pd.DataFrame) -> Iterator[Finding]:
    general = rows[rows["text"] == "general"]
    if len(general):
        lowest = general.sort_values("cka").iloc[0]
        far = lowest["cka"] < _UNLIKE
        words = (
            "The hidden states on general text are unlike the base model's"
            if far
            else "The hidden states on general text are like the base model's"
        )
        yield Finding(
            "warning" if far else "ok",
            f"{words}: the lowest CKA is {lowest['cka']:.2f}, after block {lowest['layer']}.",
        )


def _forgotten(rows: pd.DataFrame) -> Iterator[Finding]:
    for row in rows.to_dict("records"):
        if pd.notna(row["forgetting"]):
            worse = row["ci_low"] > 0
            yield Finding(
                "warning" if worse else "ok",
                f"{'Forgot' if worse else 'Nothing forgotten'} on {row['suite']}: the loss changed "
                f"by {row['forgetting']:+z.3f} nats per token ({row['ci_low']:+z.3f} to "
                f"{row['ci_high']:+z.3f}).",
            )
        elif pd.notna(row["accuracy_change"]):
            worse = row["accuracy_ci_high"] < 0
            yield Finding(
                "warning" if worse else "ok",
                f"{row['suite']}: accuracy changed by {100 * row['accuracy_change']:+z.1f} points "
                f"({100 * row['accuracy_ci_low']:+z.1f} to {100 * row['accuracy_ci_high']:+z.1f}).",
            )


def _probed(rows: pd.DataFrame) -> Iterator[Finding]:
    for row in rows.to_dict("records"):
        worse = row["accuracy_ci_high"] < 0
        yield Finding(
            "warning" if worse else "ok",
            f"{'Forgot' if worse else 'Nothing forgotten'} of {row['suite']}: the accuracy of a "
            f"linear classifier of the states changed by {100 * row['accuracy_change']:+z.1f} "
            f"points ({100 * row['accuracy_ci_low']:+z.1f} to "
            f"{100 * row['accuracy_ci_high']:+z.1f}).",
        )


def _tested(rows: pd.DataFrame) -> Iterator[Finding]:
    by_vector = rows[(rows["metric"] == "cosine") & rows["position"].notna()]
    counts = by_vector["verdict"].value_counts()
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    yield Finding("ok", f"The vectors' nearest tokens, tested against nulls: {verdicts}.")


def _survived(rows: pd.DataFrame) -> Iterator[Finding]:
    """Judge each precision by the task's examples where there are any, else by general text."""
    of_task = rows[rows["text"] == "task"]
    for row in (of_task if len(of_task) else rows).to_dict("records"):
        if pd.isna(row["verdict"]):
            continue
        severity = _SURVIVAL[row["verdict"]]
        result = {"kept": "keeps its effect", "erased": "is erased"}.get(
            row["verdict"], "may lose its effect"
        )
        text = "the task's examples" if row["text"] == "task" else "general text"
        yield Finding(
            severity,
            f"Merged in {row['precision']}, the update {result}: on {text} what merging changes "
            f"agrees with the adapter's effect by {row['agreement']:z.2f}{_range(row)}, and "
            f"KL(attached || merged) is {row['kl']:.2g} nats per token, "
            f"{row['kl_without_update']:.2g} without the update.",
        )


_SURVIVAL: dict[str, Severity] = {"kept": "ok", "erased": "broken", "undecided": "warning"}


def _range(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["ci_low"]):
        return ""
    return f" ({row['ci_low']:z.2f} to {row['ci_high']:z.2f})"


_RULES = {
    "adapter_weights": _weights,
    "adapter_vectors": _vectors,
    "delta_spectrum": _relative,
    "intruder_dimensions": _intruders,
    "amplification": _amplified,
    "representation_shift": _shifted,
    "forgetting": _forgotten,
    "linear_probes": _probed,
    "soft_prompt_null": _tested,
    "update_survival": _survived,
}


def _listed(names: pd.Series) -> str:
    shown = [re.sub(r"\.weight$", "", str(name)) for name in names.head(3)]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

"""Verdicts of a study for readers: grouped by outcome, the most relevant to the study first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from peftlens import registry
from peftlens.claims import Outcome, Verdict
from peftlens.errors import InputError
from peftlens.numerics.counts import counted
from peftlens.results.study_results import StudyResults

OUTCOMES: tuple[Outcome, ...] = (
    "contradicted", "supported", "insufficient evidence", "not measured",
)  # fmt: skip
TITLES = {
    "contradicted": "Contradicted",
    "supported": "Supported",
    "insufficient evidence": "Undecided",
    "not measured": "Not measured here",
}
# Tables from what training is for to what only counts; a claim is as relevant as its first one.
RELEVANCE = (
    "rank_chart", "forgetting_at_matched_fit", "sequence_items", "soft_prompt_null",
    "soft_prompt_task_words", "soft_prompt_neighbors", "prompt_elicitation",
    "activation_difference", "update_directions", "layer_ablation", "memorization", "combination",
    "training_cost", "latency", "parameter_count", "base_parameters", "cost",
)  # fmt: skip
_LONG = 230  # characters of a sentence that is shown whole


@dataclass(frozen=True)
class ShownVerdict:
    """One verdict, as a page shows it.

    Attributes:
        claim: name of the claim.
        text: wording of the claim.
        source: citation of the claim.
        needs: names of the tables that decide it.
        sentence: its first part, with numbers.
        rest: the whole sentence where `sentence` is cut; else empty.
        remedy: what would decide it; empty for a decided one.
        practice: what to do about it; empty for an undecided one.
        criterion: when the claim holds, as a clause.
    """

    claim: str
    text: str
    source: str
    needs: tuple[str, ...]
    sentence: str
    rest: str
    remedy: str
    practice: str
    criterion: str


@dataclass(frozen=True)
class VerdictGroup:
    """Verdicts of one outcome.

    Attributes:
        outcome: the outcome.
        verdicts: its verdicts, the most relevant first.
    """

    outcome: Outcome
    verdicts: tuple[ShownVerdict, ...]

    @property
    def title(self) -> str:
        """Outcome in a word or two."""
        return TITLES[self.outcome]

    @property
    def is_decided(self) -> bool:
        """Whether the evidence decided the claims."""
        return self.outcome in ("supported", "contradicted")


def verdict_groups(one: StudyResults, verdicts: Iterable[Verdict]) -> Iterator[VerdictGroup]:
    """Yield the groups that have verdicts: decided ones first, those not measured last.

    Args:
        one: results of the study.
        verdicts: verdicts on all claims.
    """
    ordered = sorted(verdicts, key=lambda verdict: _relevance(verdict, one.name))
    for outcome in OUTCOMES:
        members = [_shown(one, verdict) for verdict in ordered if verdict.outcome == outcome]
        if members:
            yield VerdictGroup(outcome, tuple(members))


def _relevance(verdict: Verdict, study: str) -> tuple[bool, int]:
    """Order claims for which the study was designed first, then by the tables they read."""
    places = [RELEVANCE.index(need) for need in verdict.needs if need in RELEVANCE]
    analysis = _constant(verdict.claim, "ANALYSIS")
    designed = bool(analysis) and study.startswith((analysis, analysis.replace("_", " ")))
    return not designed, min(places, default=len(RELEVANCE))


def _constant(claim: str, name: str) -> str:
    try:
        return str(registry.describe("claims", claim).constants.get(name) or "")
    except InputError:  # the claim belongs to a package that is not installed
        return ""


def _shown(one: StudyResults, verdict: Verdict) -> ShownVerdict:
    first = first_part(verdict.sentence)
    return ShownVerdict(
        claim=verdict.claim,
        text=verdict.text,
        source=verdict.source,
        needs=verdict.needs,
        sentence=first,
        rest=verdict.sentence if first != verdict.sentence else "",
        remedy=_remedy(one, verdict) if verdict.outcome == "insufficient evidence" else "",
        practice=verdict.practice,
        criterion=verdict.criterion,
    )


def _remedy(one: StudyResults, verdict: Verdict) -> str:
    """Say what would decide a claim, and what the study has."""
    to_measure = _constant(verdict.claim, "TO_MEASURE")
    seeds = len({run.config.seed for run in one.runs})
    has = f"this study has {counted(seeds, 'seed')}{_items(one)}" if seeds else ""
    advice = f"{to_measure[0].upper()}{to_measure[1:]}" if to_measure else ""
    return "; ".join(filter(None, (advice, has))) + "." if advice or has else ""


def _items(one: StudyResults) -> str:
    if "task_accuracy" not in one.tables:
        return ""
    items = one.tables["task_accuracy"].frame["n_items"].dropna()
    return f" and {counted(int(items.max()), 'test example')}" if len(items) else ""


def first_part(sentence: str) -> str:
    """Cut a long text after a sentence, or at a comma or semicolon outside of parentheses."""
    if len(sentence) <= _LONG:
        return sentence
    depth, ends, stops = 0, [], []
    for n, letter in enumerate(sentence[:_LONG]):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and sentence[n : n + 2] in ("; ", ", "):
            stops.append(n)
        if depth == 0 and sentence[n : n + 2] == ". ":
            ends.append(n + 1)
    if ends:
        return sentence[: ends[-1]]
    return sentence[: stops[-1]] + " …" if stops else sentence

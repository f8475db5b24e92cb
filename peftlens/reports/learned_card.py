"""Headline figure on what was learned: runs with a readable trace, or readable prompt vectors."""

from collections.abc import Iterable, Iterator, Sequence

from peftlens.reports.card import Card
from peftlens.reports.learned import Learned
from peftlens.reports.soft_prompts import MARKS, Prompt

_READABLE = ("readable", "displacement readable")  # verdicts on a vector
_WORDS = 5


def learned_cards(learned: Sequence[Learned], prompts: Sequence[Prompt]) -> Iterator[Card]:
    """Yield the figure: of traces where they were measured, else of prompts' vectors.

    Args:
        learned: what one run of each configuration learned, with the verdicts on the others.
        prompts: soft prompts with the verdicts on their vectors.
    """
    verdicts = [v for one in learned for v in (one.verdict, *(v for _, v in one.others))]
    verdicts = [one for one in verdicts if one.outcome != "not measured"]
    if len(verdicts) == 1:
        (verdict,) = verdicts
        yield _of_traces(verdict.outcome.capitalize(), verdict.typical)
    elif verdicts:
        found = [one for one in verdicts if one.outcome == "readable trace"]
        words = dict.fromkeys(word for one in found for word in one.typical)
        yield _of_traces(f"{len(found)} of {len(verdicts)} runs", words)
    else:
        yield from _of_prompts(prompts)


def _of_traces(value: str, words: Iterable[str]) -> Card:
    details = ("Read from how training changes the hidden states there.",)
    if shown := [*words][:_WORDS]:
        details = (f"{', '.join(shown)}.", *details)
    return Card("Training words readable on unrelated text", value, "", details, "learned")


def _of_prompts(prompts: Sequence[Prompt]) -> Iterator[Card]:
    own = [one for one in prompts if not one.is_control]
    tested = [token.verdict for one in own for token in one.tokens if token.verdict]
    if not tested:
        return
    marked = {f"{MARKS[one]} {one}" for one in _READABLE}
    n = sum(verdict in marked for verdict in tested)
    details = ("By tests against random directions and random steps.",)
    value = f"{n:,} of {len(tested):,}"
    yield Card("Readable prompt vectors", value, "", details, "prompts")

"""Missing results of a study, with reasons: failed, damaged, not run, not measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults


@dataclass(frozen=True)
class MissingResult:
    """One kind of missing results.

    Attributes:
        title: name of the kind.
        remedy: how to obtain the results.
        lines: description and reason of each result, with details or an empty text.
    """

    title: str
    remedy: str
    lines: list[tuple[str, str]]


def missing_results(one: StudyResults) -> Iterator[MissingResult]:
    """Yield the kinds that have missing results; inapplicable probes are shown with their table."""
    kinds = (
        (
            "Failed",
            "Run the same command with --retry-failed to try again.",
            [
                (f"{about['what']}: {redacted(about['told'])}", _more(about))
                for about in one.failed.values()
            ],
        ),
        (
            "Damaged, and left out",
            "Run the study's command to move them aside and train them again.",
            [
                (f"{one.index['names'][run]}: {redacted(why)}", "")
                for run, why in one.damaged.items()
            ],
        ),
        ("Not run", "Run the study's command to train them.", [(name, "") for name in one.missing]),
        (
            "Not measured",
            "Run the study's command to measure them.",
            [(name, "") for name in one.unmeasured],
        ),
        (
            "Tables that can't be read",
            "Run the study's command to make them again.",
            [(f"{name}: {redacted(why)}", "") for name, why in one.unreadable.items()],
        ),
    )
    for title, remedy, lines in kinds:
        if lines:
            yield MissingResult(title, remedy, lines)


def _more(about: dict[str, str]) -> str:
    return redacted("\n".join(about[name] for name in ("traceback", "log") if about.get(name)))

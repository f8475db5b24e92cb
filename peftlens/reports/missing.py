"""Missing results of a study, with reasons: failed, damaged, not run, not measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults


@dataclass(frozen=True)
class MissingResult:
    """Missing results of one kind.

    Attributes:
        title: name of the kind.
        remedy: how to obtain the results.
        lines: pairs of a description with its reason, and details or an empty text.
    """

    title: str
    remedy: str
    lines: list[tuple[str, str]]


def missing_results(results: StudyResults) -> Iterator[MissingResult]:
    """Yield missing results by kind; inapplicable probes are shown with their tables instead."""
    kinds = (
        (
            "Failed",
            "Run the same command with --retry-failed to try again.",
            [
                (f"{failure['what']}: {redacted(failure['summary'])}", _details(failure))
                for failure in results.failed.values()
            ],
        ),
        (
            "Damaged, and left out",
            "Run the study's command to move them aside and train them again.",
            [
                (f"{results.index['names'][run]}: {redacted(reason)}", "")
                for run, reason in results.damaged.items()
            ],
        ),
        (
            "Not run",
            "Run the study's command to train them.",
            [(name, "") for name in results.missing],
        ),
        (
            "Not measured",
            "Run the study's command to measure them.",
            [(name, "") for name in results.unmeasured],
        ),
        (
            "Tables that can't be read",
            "Run the study's command to make them again.",
            [(f"{name}: {redacted(reason)}", "") for name, reason in results.unreadable.items()],
        ),
        (
            "Outdated tables",
            "They are shown; run the study's command to make them again.",
            [(redacted(reason), "") for reason in results.outdated.values()],
        ),
        (
            "Not compared, or changed",
            "`peftlens study verify` compares all files of the study.",
            [(redacted(reason), "") for reason in (*results.unchecked.values(), *results.changed)],
        ),
    )
    for title, remedy, lines in kinds:
        if lines:
            yield MissingResult(title, remedy, lines)


def _details(failure: dict[str, str]) -> str:
    return redacted("\n".join(failure[name] for name in ("traceback", "log") if failure.get(name)))

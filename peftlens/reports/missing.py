"""What a report does not show, and why: failed, damaged, not run, not measured."""

from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.results.invocations import redacted
from peftlens.results.study_results import StudyResults


@dataclass(frozen=True)
class MissingResult:
    """A kind of what is not there.

    Attributes:
        title: the kind.
        remedy: what would bring it.
        lines: what it is and why, with more to read where there is more, else empty.
    """

    title: str
    remedy: str
    lines: list[tuple[str, str]]


def missing_results(one: StudyResults) -> Iterator[MissingResult]:
    """Those kinds that have anything; what does not apply stands with its probe."""
    kinds = (
        (
            "Failed",
            "The same command with --retry-failed tries again.",
            [
                (f"{about['what']}: {redacted(about['told'])}", _more(about))
                for about in one.failed.values()
            ],
        ),
        (
            "Damaged, and left out",
            "The study's command puts them aside and trains them anew.",
            [
                (f"{one.index['names'][run]}: {redacted(why)}", "")
                for run, why in one.damaged.items()
            ],
        ),
        ("Not run", "The study's command trains them.", [(name, "") for name in one.missing]),
        (
            "Not measured",
            "The study's command measures them.",
            [(name, "") for name in one.unmeasured],
        ),
        (
            "Tables that can't be read",
            "The study's command makes them anew.",
            [(f"{name}: {redacted(why)}", "") for name, why in one.unreadable.items()],
        ),
    )
    for title, remedy, lines in kinds:
        if lines:
            yield MissingResult(title, remedy, lines)


def _more(about: dict[str, str]) -> str:
    return redacted("\n".join(about[name] for name in ("traceback", "log") if about.get(name)))

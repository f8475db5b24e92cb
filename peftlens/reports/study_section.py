"""What the page shows of one study."""

from dataclasses import dataclass
from typing import ClassVar

from peftlens.claims import Verdict
from peftlens.inspection.findings import Finding
from peftlens.reports.missing import MissingResult
from peftlens.reports.provenance import RUN_HEADER
from peftlens.reports.soft_prompts import Prompt
from peftlens.reports.table_sections import Section


@dataclass(frozen=True)
class StudySection:
    """A study.

    Attributes:
        prefix: of the anchors of its parts; empty where it is the only study.
        name: what its file calls it.
        answer: what it found, in a few sentences.
        verdicts: on every claim, those that were not measured last.
        sections: one for each table.
        prompts: what each soft prompt is near.
        runs: a row of text for each.
        absences: what failed, is damaged, or was not run or measured.
        origins: where the numbers come from, in words.
        text: the study's file.
        findings: of an adapter instead of verdicts, the worst first.
        about: what the adapter is, as pairs of a name and words.
    """

    prefix: str
    name: str
    answer: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    prompts: tuple[Prompt, ...]
    runs: tuple[list[str], ...]
    absences: tuple[MissingResult, ...]
    origins: tuple[tuple[str, str], ...]
    text: str
    findings: tuple[Finding, ...] = ()
    about: tuple[tuple[str, str], ...] = ()
    marks: ClassVar[dict[str, str]] = {
        "supported": "✓", "contradicted": "✗", "insufficient evidence": "?",
        "ok": "✓", "broken": "✗", "warning": "!",
    }  # fmt: skip
    run_header: ClassVar[list[str]] = RUN_HEADER

    @property
    def judged(self) -> list[Verdict]:
        """The claims that the study says something of."""
        return [one for one in self.verdicts if one.outcome != "not measured"]

    @property
    def unjudged(self) -> list[Verdict]:
        """The others."""
        return [one for one in self.verdicts if one.outcome == "not measured"]

    def shows(self, table: str) -> bool:
        """Whether the page has a section of this table."""
        return any(section.name == table for section in self.sections)

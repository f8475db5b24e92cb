"""Section of the report on one study: all values that the page's template shows."""

from dataclasses import dataclass
from typing import ClassVar

from peftlens.claims import Verdict
from peftlens.inspection.findings import Finding
from peftlens.reports.axis_chooser import Chooser
from peftlens.reports.colored_text import LEVELS, Passage
from peftlens.reports.learned import Learned
from peftlens.reports.missing import MissingResult
from peftlens.reports.provenance import RUN_HEADER
from peftlens.reports.side_by_side import Answers
from peftlens.reports.soft_prompts import Prompt
from peftlens.reports.table_sections import Section


@dataclass(frozen=True)
class StudySection:
    """Contents of the report on one study, or on one adapter.

    Attributes:
        prefix: prefix of the anchors of its parts; empty for the only study.
        name: name of the study.
        answer: main results, in a few sentences.
        verdicts: verdicts on all claims, those not measured last.
        tables: one section per table.
        prompts: soft prompts with their nearest tokens.
        runs: one row of text per run.
        absences: failed, damaged, missing and unmeasured results.
        origins: items of provenance, as pairs of name and value.
        text: text of the study file.
        answers: prompts with the texts that the models write.
        findings: findings on an adapter, worst first; instead of verdicts.
        properties: properties of an adapter, as pairs of name and value.
        learned: what one run of each configuration learned.
        passages: texts colored by the tuned model's divergence from the base.
        chooser: chart of two metrics; None with fewer than two of them.
        marks: symbol of each outcome and severity.
        run_header: names of the columns of `runs`.
        levels: divergences at which the color of a passage changes, nats.
    """

    prefix: str
    name: str
    answer: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    tables: tuple[Section, ...]
    prompts: tuple[Prompt, ...]
    runs: tuple[list[str], ...]
    absences: tuple[MissingResult, ...]
    origins: tuple[tuple[str, str], ...]
    text: str
    answers: tuple[Answers, ...] = ()
    findings: tuple[Finding, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    learned: tuple[Learned, ...] = ()
    passages: tuple[Passage, ...] = ()
    chooser: Chooser | None = None
    marks: ClassVar[dict[str, str]] = {
        "supported": "✓", "contradicted": "✗", "insufficient evidence": "?",
        "ok": "✓", "broken": "✗", "warning": "!",
    }  # fmt: skip
    run_header: ClassVar[list[str]] = RUN_HEADER
    levels: ClassVar[tuple[float, ...]] = LEVELS

    @property
    def judged(self) -> list[Verdict]:
        """Verdicts on the claims that the study measured."""
        return [one for one in self.verdicts if one.outcome != "not measured"]

    @property
    def unjudged(self) -> list[Verdict]:
        """Verdicts on the claims that the study did not measure."""
        return [one for one in self.verdicts if one.outcome == "not measured"]

    def shows(self, table: str) -> bool:
        """Whether the page has a section of this table."""
        return any(section.name == table for section in self.tables)

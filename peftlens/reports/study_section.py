"""Section of the report on one study: all values that the page's template shows."""

from dataclasses import dataclass
from typing import ClassVar

from peftlens.inspection.findings import Finding
from peftlens.reports.axis_chooser import Chooser
from peftlens.reports.card import Card
from peftlens.reports.cells import NO_ROWS, Grid
from peftlens.reports.colored_text import LEVELS, Passage
from peftlens.reports.decisions import DecisionsSection
from peftlens.reports.learned import Learned
from peftlens.reports.missing import MissingResult
from peftlens.reports.next_steps import NextStep
from peftlens.reports.result_table import ResultTable
from peftlens.reports.side_by_side import Answers
from peftlens.reports.soft_prompts import Prompt
from peftlens.reports.table_sections import Section
from peftlens.reports.verdict_groups import VerdictGroup


@dataclass(frozen=True)
class StudySection:
    """Contents of the report on one study, or on one adapter.

    Attributes:
        prefix: prefix of the anchors of its parts; empty for the only study.
        name: title of the study.
        tables: one section per table.
        origins: items of provenance, as pairs of name and value.
        subject: parts of the line that says what was studied, as pairs of name and value.
        progress: how far a study is that is not at its end; empty at its end.
        cards: headline figures.
        verdict_groups: verdicts on all claims, by outcome.
        results: scores and costs of each configuration; None if there are none.
        answer: main results, in a few sentences.
        next_steps: commands that go on with a run.
        prompts: soft prompts with their nearest tokens.
        run_grid: one row per run.
        absences: failed, damaged, missing and unmeasured results.
        text: text of the study file.
        answers: prompts with the texts that the models write.
        findings: findings on an adapter, worst first; instead of verdicts.
        properties: properties of an adapter, as pairs of name and value.
        learned: what one run of each configuration learned.
        decisions: how the verdicts were reached; None in an ordinary study.
        passages: texts colored by the tuned model's divergence from the base.
        chooser: chart of two metrics; None with fewer than two of them.
        marks: symbol of each outcome and severity.
        levels: divergences at which the color of a passage changes, nats.
    """

    prefix: str
    name: str
    tables: tuple[Section, ...]
    origins: tuple[tuple[str, str], ...] = ()
    subject: tuple[tuple[str, str], ...] = ()
    progress: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    verdict_groups: tuple[VerdictGroup, ...] = ()
    results: ResultTable | None = None
    answer: tuple[str, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    run_grid: Grid = NO_ROWS
    absences: tuple[MissingResult, ...] = ()
    text: str = ""
    answers: tuple[Answers, ...] = ()
    findings: tuple[Finding, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    learned: tuple[Learned, ...] = ()
    decisions: DecisionsSection | None = None
    passages: tuple[Passage, ...] = ()
    chooser: Chooser | None = None
    marks: ClassVar[dict[str, str]] = {
        "supported": "✓", "contradicted": "✗", "insufficient evidence": "?",
        "ok": "✓", "broken": "✗", "warning": "!",
    }  # fmt: skip
    levels: ClassVar[tuple[float, ...]] = LEVELS

    @property
    def is_judged(self) -> bool:
        """Whether a claim was measured."""
        return any(group.outcome != "not measured" for group in self.verdict_groups)

    @property
    def verdicts_first(self) -> bool:
        """Whether verdicts come before the results; of a single run, they come after these."""
        return self.is_judged and not self.next_steps

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchor and title of each part that the page has, in order."""
        parts = (
            ("verdicts", "Verdicts", self.verdicts_first),
            ("results", "Results", self.results),
            ("next", "Next steps", self.next_steps),
            ("verdicts", "Verdicts", self.verdict_groups and not self.verdicts_first),
            ("learned", "What did it learn?", self.learned),
            ("compare", "Chart of any two metrics", self.chooser),
            *((table.name, table.title, True) for table in self.tables),
            ("prompts", "Nearest tokens of prompts", self.prompts),
            ("absent", "Missing results", self.absences),
            ("decisions", "How the verdicts were reached", self.decisions),
            ("runs", "Runs", self.run_grid.rows),
            ("provenance", "Provenance", True),
        )
        return [(anchor, title) for anchor, title, shown in parts if shown]

    def shows(self, table: str) -> bool:
        """Whether the page has a section of this table."""
        return any(section.name == table for section in self.tables)

from types import SimpleNamespace
from typing import get_args

from peftlens.claims import Outcome
from peftlens.inspection.findings import Severity
from peftlens.reports.study_section import StudySection
from peftlens.reports.verdict_groups import ShownVerdict, VerdictGroup


def group(outcome):
    return VerdictGroup(outcome, (ShownVerdict("a", "A.", "s", ("t",), "1.", "", "", "", ""),))


def test_contents_name_what_the_page_has_in_its_order():
    table = SimpleNamespace(name="cost", title="Cost")
    one = StudySection("", "n", (table,), verdict_groups=(group("supported"),), prompts=(1,))  # pyright: ignore
    assert one.contents == [
        ("verdicts", "Verdicts"),
        ("cost", "Cost"),
        ("prompts", "Nearest tokens of prompts"),
        ("provenance", "Provenance"),
    ]
    assert one.shows("cost")
    assert not one.shows("latency")


def test_claims_that_nobody_measured_are_after_the_results():
    one = StudySection("", "n", (), verdict_groups=(group("not measured"),), next_steps=(1,))  # pyright: ignore
    assert not one.is_judged
    assert [anchor for anchor, _ in one.contents] == ["next", "verdicts", "provenance"]


def test_every_outcome_has_a_mark():
    verdicts, severities = set(get_args(Outcome)), set(get_args(Severity))
    assert StudySection.marks.keys() == (verdicts - {"not measured"}) | severities

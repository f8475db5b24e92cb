from types import SimpleNamespace
from typing import get_args

from peftlens.claims import Outcome, Verdict
from peftlens.inspection.findings import Severity
from peftlens.reports.study_section import StudySection


def test_verdicts_are_told_apart_and_tables_found():
    verdicts = (Verdict("a", "A.", "s", ("t",), "supported", "1."),
                Verdict("b", "B.", "s", ("u",), "not measured", "2."))  # fmt: skip
    section = SimpleNamespace(name="t")
    one = StudySection("", "n", (), verdicts, (section,), (), (), (), (), "")  # pyright: ignore
    assert [v.claim for v in one.judged] == ["a"]
    assert [v.claim for v in one.unjudged] == ["b"]
    assert one.shows("t")
    assert not one.shows("u")
    verdicts, severities = set(get_args(Outcome)), set(get_args(Severity))
    assert one.marks.keys() == (verdicts - {"not measured"}) | severities

from types import SimpleNamespace

from peftlens.claims import Verdict
from peftlens.report.chapter import Chapter


def test_verdicts_are_told_apart_and_tables_found():
    verdicts = (Verdict("a", "A.", "s", ("t",), "supported", "1."),
                Verdict("b", "B.", "s", ("u",), "not measured", "2."))  # fmt: skip
    section = SimpleNamespace(name="t")
    one = Chapter("", "n", (), verdicts, (section,), (), (), (), (), "")  # pyright: ignore
    assert [v.claim for v in one.judged] == ["a"]
    assert [v.claim for v in one.unjudged] == ["b"]
    assert one.shows("t")
    assert not one.shows("u")
    assert one.marks.keys() == {"supported", "contradicted", "insufficient evidence"}

"""The table of verdicts in reports/README.md is what the committed tables say."""

import importlib
import re
from pathlib import Path

import pytest

from peftlens.claims import judge
from peftlens.io import escaping

REPORTS = Path(__file__).parent.parent / "reports"


@pytest.fixture
def gather(monkeypatch):
    monkeypatch.syspath_prepend(str(REPORTS.parent / "analyses"))
    return importlib.import_module("gather")


@pytest.fixture
def verdicts():
    return escaping.from_csv((REPORTS / "verdicts.csv").read_text())


def test_every_verdict_is_judged_again_from_its_tables(gather, verdicts):
    assert {*verdicts["claim"]} == gather.analysis_of_claim().keys()
    for analysis, rows in verdicts.groupby("analysis"):
        found = {one.claim: one for one in judge(gather.kept(REPORTS / analysis / "tables"))}
        for row in rows.itertuples():
            again = found[row.claim]
            assert (again.outcome, again.sentence) == (row.outcome, row.sentence)


def test_the_page_shows_them(gather, verdicts):
    assert gather.markdown(verdicts) in (REPORTS / "README.md").read_text()


def test_every_claim_has_an_analysis_that_is_made_for_it(gather):
    analyses = {file.stem for file in (REPORTS.parent / "analyses").glob("*.toml")}
    designed = {*gather.analysis_of_claim().values()}
    assert designed <= analyses | gather.STUDIES.keys()
    assert {study for studies in gather.STUDIES.values() for study in studies} <= analyses


def test_no_report_says_where_a_machine_keeps_things():
    place = re.compile(r"(?<![\w.~<:/])/(work|home|root|tmp|Users|mnt)/")
    for file in REPORTS.rglob("*"):
        if file.suffix in {".html", ".csv", ".md", ".tex"}:
            assert not place.search(file.read_text()), file


def test_pages_are_small_and_share_plotly():
    pages = list(REPORTS.glob("*.html"))
    (script,) = REPORTS.glob("*.js")
    assert pages
    for page in pages:
        assert page.stat().st_size < 8e6
        assert f'<script src="{script.name}"></script>' in page.read_text()

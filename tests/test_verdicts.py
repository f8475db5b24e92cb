"""The table of verdicts in reports/README.md is what the committed tables say."""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import judge
from peftlens.io import escaping
from peftlens.results.sequential import RACED_RATES, last_verdicts

REPORTS = Path(__file__).parent.parent / "reports"


def analysis_module(name, monkeypatch):
    monkeypatch.syspath_prepend(str(REPORTS.parent / "analyses"))
    return importlib.import_module(name)


@pytest.fixture
def evidence(monkeypatch):
    return analysis_module("evidence", monkeypatch)


@pytest.fixture
def verdict_tables(monkeypatch):
    return analysis_module("verdict_tables", monkeypatch)


@pytest.fixture
def verdicts():
    return escaping.from_csv((REPORTS / "verdicts.csv").read_text())


def test_every_verdict_is_judged_again_from_its_tables(evidence, verdicts):
    again = escaping.from_csv(escaping.to_csv(evidence.judged()))
    pd.testing.assert_frame_equal(again, verdicts)
    assert len(verdicts) == len(verdicts.drop_duplicates(["claim", "model", "task"]))


def test_what_a_last_look_found_follows_from_its_tables(evidence):
    """Where no other claim of the study asked for more seeds after it."""
    checked = 0
    for folder in sorted(REPORTS.glob("*/tables/*/")):
        tables = evidence.read(folder)
        if "looks" not in tables:
            continue
        frames = tables | {RACED_RATES: tables["rates"]}
        looks = tables["looks"]
        for row in last_verdicts(looks[looks["look"] == looks["look"].max()]).to_dict("records"):
            (found,) = judge(frames, row["level"], [row["claim"]])
            assert (found.outcome, found.sentence) == (row["outcome"], row["sentence"])
            checked += 1
    assert checked


def test_the_page_shows_them(verdict_tables, verdicts):
    page = (REPORTS / "README.md").read_text()
    assert verdict_tables.practice(verdicts) in page
    assert verdict_tables.numbers(verdicts) in page


def test_the_page_of_an_analysis_is_made_from_its_tables(verdicts, monkeypatch):
    module = analysis_module("analysis_page", monkeypatch)
    names = [file.parent.name for file in REPORTS.glob("*/README.md")]
    made = [name for name in names if module.generated(name)]
    assert made
    for name in made:
        page = (REPORTS / name / "README.md").read_text()
        assert module.page(name, verdicts) == page
        for sentence in verdicts[verdicts["analysis"] == name]["sentence"]:
            assert sentence in page


def test_the_figures_of_the_advice_are_those_of_the_verdicts(verdict_tables, verdicts):
    number = re.compile(r"\d+(?:\.\d+)?")
    assert verdict_tables.ADVICE
    for claim, about in verdict_tables.ADVICE.items():
        rows = verdicts[verdicts["claim"] == claim]
        assert verdict_tables.verdict_names(rows) == about["verdicts"], claim
        found = {*number.findall(" ".join(rows["sentence"]))}
        of_the_rule = {*number.findall(registry.load("claims", claim).CRITERION)}
        assert {*number.findall(about["advice"])} <= found | of_the_rule, claim


def test_advice_where_verdicts_disagree(verdict_tables):
    rows = [("rank", "a", "x", "supported"), ("rank", "b", "x", "contradicted"),
            ("rank", "b", "y", "insufficient evidence")]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["claim", "model", "task", "outcome"])
    line = verdict_tables.practice(frame).splitlines()[2]
    assert "| *supported*: x | *contradicted*: x; *undecided*: y |" in line
    assert "Start with a rank between 4 and 32: lower ones lose over a point. (a on x)" in line
    assert "better. (b on x)" in line


def test_every_claim_has_a_study_that_is_made_for_it(evidence):
    analyses = REPORTS.parent / "analyses"
    files = {file.stem for file in analyses.rglob("*.toml")}
    for name in evidence.analyses():
        assert any(stem == name or stem.startswith(f"{name}_") for stem in files), name


def test_no_report_says_where_a_machine_keeps_things():
    place = re.compile(r"(?<![\w.~<:/])/(work|home|root|tmp|Users|mnt)/")
    for file in REPORTS.rglob("*"):
        if file.suffix in {".html", ".csv", ".md", ".tex"}:
            assert not place.search(file.read_text()), file


def test_links_of_reports_lead_somewhere():
    for page in [REPORTS / "README.md", *REPORTS.glob("*/README.md")]:
        for link in re.findall(r"\]\(((?!https?:)[^)#\s]+)", page.read_text()):
            assert (page.parent / link).exists(), (page, link)


def test_pages_are_small_and_share_plotly():
    pages = list(REPORTS.glob("*.html"))
    (script,) = REPORTS.glob("*.js")
    assert pages
    for page in pages:
        assert page.stat().st_size < 8e6
        assert re.search(rf'<script [^>]*"{re.escape(script.name)}"></script>', page.read_text())

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


def rows_of(page, heading):
    """Cells of the table of a section of a page, by the first cell's first word."""
    lines = page.read_text().partition(heading)[2].partition("\n## ")[0].splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {cells[0].split()[0].strip(","): cells for cells in table}


def test_the_page_on_encoders_quotes_its_tables(gather):
    """Accuracies, and the mean change over seeds of what linear classifiers read, in points."""
    folder = REPORTS / "encoders"
    rows = rows_of(folder / "README.md", "## Ten methods")
    change = gather.kept(folder / "tables")["linear_probes"]
    for column, task, other in ((2, "bbc_topic", 4), (3, "word_sentiment", 5)):
        lines = (folder / "results" / f"encoders_{task}.md").read_text().splitlines()
        for line in lines:
            if not re.match(r"\| [a-z]", line) or line.startswith("| configuration"):
                continue
            cells = line.strip("| ").replace("\\", "").split(" | ")
            method = cells[0].split()[0]
            assert rows[method][column] == cells[1]
            assert task == "word_sentiment" or rows[method][1] == cells[3]  # with five classes
            ours = change[(change["method"] == method) & (change["suite"] != task)]
            mean = 100 * ours["accuracy_change"].mean()
            assert float(rows[method][other].replace("−", "-")) == pytest.approx(mean, abs=0.051)
    trained = change[~change["method"].isin(["frozen", "head"])]
    lost = trained[trained["accuracy_ci_high"] < 0].groupby("suite")["run"].nunique()
    assert (lost["word_sentiment"], lost["bbc_topic"]) == (2, 21)


def test_the_page_on_the_lens_quotes_its_tables(gather):
    """Number of runs of each method and task with words of the training on general text."""
    folder = REPORTS / "lens"
    rows = rows_of(folder / "README.md", "## Which methods")
    table = gather.kept(folder / "tables")["activation_difference"]
    general = table[(table["text"] == "general") & (table["method"] != "frozen")]
    for method, ours in general.groupby("method"):
        for column, study in ((1, "headlines"), (2, "words")):
            least = ours[ours["study"].str.endswith(study)].groupby("run")["q"].min()
            assert rows[method][column] == f"{(least <= 0.01).sum()} of {len(least)}"

"""What is said about speed is what the committed tables say."""

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "reports" / "performance"


def rows(name):
    return pd.read_csv(FOLDER / f"{name}.csv")


def text(name):
    return (ROOT / name).read_text()


@pytest.fixture
def goals(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses" / "performance"))
    yield importlib.import_module("goals")
    for name in ("goals", "measurements"):
        sys.modules.pop(name)


def test_every_goal_is_judged_by_its_table(goals):
    found = goals.table()
    assert pd.DataFrame(found).to_csv(index=False) == (FOLDER / "goals.csv").read_text()
    assert goals.markdown(found) in text("reports/performance/README.md")


def test_some_measurements_or_all_or_none(goals):
    assert goals.chosen(["start", "pages"]) == ["pages", "start"]
    assert goals.chosen([]) == [*goals.SCRIPTS]
    assert goals.chosen(["--no-run", "start"]) == []
    with pytest.raises(SystemExit, match="no measurement page; choose from steps"):
        goals.chosen(["page"])


def test_a_goal_that_is_missed_says_what_stands_in_the_way(goals):
    outcomes = {row["outcome"] for row in goals.table()}
    assert outcomes <= {"reached", "missed", "not measured"}
    assert all(row["in_the_way"] for row in goals.table() if row["outcome"] != "reached")


def test_a_goal_can_be_missed_and_reached(goals):
    goal = goals.Goal("x", "", "t", goals.of("v", k="a"), least=2, in_the_way="y")
    judged = [goal.row([{"k": "a", "v": v}, {"k": "b", "v": "9"}]) for v in ("1.9", "2")]
    assert [row["outcome"] for row in judged] == ["missed", "reached"]
    assert [row["in_the_way"] for row in judged] == ["y", ""]
    small = goals.Goal("x", "", "t", goals.of("v"), most=0.3, unit=" s")
    assert small.row([{"v": "0.31"}])["outcome"] == "missed"
    assert small.row([{"v": "0.3"}])["goal"] == "at most 0.3 s"


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses" / "performance"))
    before = {*sys.modules}
    yield importlib.import_module("scale")
    for name in {*sys.modules} - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent.name == "performance":
            sys.modules.pop(name)


def test_growth_is_extrapolated_by_its_power_and_its_line(scale):
    points = [scale.Point(size, 3e-9 * size**2, 1e9 + 100 * size) for size in (1000, 2000, 4000)]
    assert scale.exponent(points) == pytest.approx(2)
    found = scale.forecast(points, 16_000)
    assert found.seconds == pytest.approx(3e-9 * 16_000**2)
    assert found.memory_bytes == pytest.approx(1e9 + 100 * 16_000)
    assert found.disk_bytes is None
    rows = scale.stage("vocabulary", "x", points, 16_000)
    assert [row["how"] for row in rows] == ["measured"] * 3 + ["extrapolated"]
    assert rows[2]["check"] == "1.00"
    # an hour after sqrt(3600 / 3e-9) = 1.1 million, long before memory: 4000 * 2**9 = 2 million
    assert rows[3]["breaks_first"] == "time: an hour, below 2,000,000"


def test_growth_is_measured_until_the_next_size_would_take_too_long(scale):
    measured = []

    def measure(size):
        measured.append(size)
        return scale.Point(size, 1e-2 * size, 0)

    scale.grow(measure, (1000, 2000, 4000, 8000, 16_000))  # 8,000 would take 80 s, 16,000 160 s
    assert measured == [1000, 2000, 4000, 8000]


def test_every_script_has_its_table(goals):
    assert {file.stem for file in FOLDER.glob("*.csv")} == {
        *goals.SCRIPTS,
        "goals",
        "rank_study_gpu",
    }
    for script in goals.SCRIPTS:
        assert rows(script)["machine"].notna().all()


def test_the_tables_of_the_docs():
    studies = text("docs/studies.md")
    for row in rows("study_overhead").itertuples():
        assert (
            f"| {row.runs} | {row.seconds_all_new} | {row.ms_per_run} | {row.seconds_all_there} "
            f"| {row.supervisor_mb} | {row.worker_mb} |"
        ) in studies
    for row in rows("workers").itertuples():
        cells = f"| {row.way} | {row.seconds} | {row.runs_per_hour} | {row.ratio:.2f} |"
        assert cells in studies


def test_the_figures_of_the_docs():
    umap, pca = rows("maps").itertuples()
    explorer = text("docs/explorer.md")
    assert f"{umap.recall:.0%} are among" in explorer.replace(" %", "%")
    assert f"{pca.recall:.1%} by the first two" in explorer.replace(" %", "%")
    assert f"it would be {umap.chance:.2%}" in explorer.replace(" %", "%")
    assert (
        f"({umap.neighbors_seconds} s of neighbors, {umap.projection_seconds:.0f} s of UMAP;"
    ) in explorer

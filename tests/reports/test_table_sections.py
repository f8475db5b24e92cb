import base64
import gzip
from dataclasses import replace

import numpy as np
import pandas as pd

from peftlens.reports import section_plots, table_sections
from peftlens.reports.table_sections import ordered, section
from peftlens.results.table import Chart, Column, Table

COLUMNS = (Column("name", "what"), Column("score", "how good"), Column("empty", "never filled"))
POINTS = Chart("points", x="name", y="score", title="t")


def table(frame, *charts, name="probe"):
    return Table(name, 1, COLUMNS, charts, frame, {"items": 5})


def texts(shown):
    return [[cell.text for cell in row] for row in shown.grid.rows]


def unpacked(shown):
    data = base64.b64decode(shown.download.link.partition(",")[2])
    return (gzip.decompress(data) if shown.download.file.endswith(".gz") else data).decode()


def test_cells_are_text_and_the_csv_is_exact():
    frame = pd.DataFrame({"name": ["a", "=b"], "score": [1 / 3, None], "empty": None})
    shown = section(table(frame))
    assert [column.name for column in shown.columns] == ["name", "score"]  # the others are empty
    assert texts(shown) == [["a", "0.3333"], ["=b", "–"]]
    assert unpacked(shown).splitlines() == ["name,score,empty", "a,0.3333333333333333,", "'=b,,"]
    assert (shown.title, shown.options) == ("Probe", "items = 5")


def test_numbers_are_rounded_by_their_interval():
    frame = pd.DataFrame(
        {"name": ["a"], "score": [0.8126], "ci_low": [0.7634], "ci_high": [0.8531]}
    )
    chart = Chart("points", x="name", y="score", title="t", low="ci_low", high="ci_high")
    assert texts(section(table(frame, chart))) == [["a", "0.81 (0.76 to 0.85)"]]


def test_a_large_table_is_packed_whole_and_a_huge_one_stays_in_its_file():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"name": "a", "score": rng.random(20_000)})
    shown = section(table(frame))
    assert shown.download.file == "probe.csv.gz"
    assert len(unpacked(shown).splitlines()) == 20_001
    assert (shown.n_rows, len(shown.grid.rows)) == (20_000, table_sections.SHOWN)
    assert section(table(frame)).download == shown.download  # the same bytes, whenever
    huge = section(table(pd.concat([frame] * 2).assign(score=rng.random(40_000), n=range(40_000))))
    assert len(huge.download.link) < table_sections.MOST * 4 / 3 + 100


def test_what_was_not_measured_is_listed_apart():
    frame = pd.DataFrame(
        {
            "configuration": ["x", "y"], "name": ["a", None], "score": [1.0, None], "empty": None,
            "status": ["measured", "not_applicable"], "reason": [None, "because"],
        }
    )  # fmt: skip
    shown = section(table(frame))
    assert shown.n_rows == 1
    assert shown.not_applicable == ["y: because"]


def test_figures_can_not_end_their_script_element():
    frame = pd.DataFrame({"name": ["</script>"], "score": [1.0], "empty": [None]})
    (figure,) = section(table(frame, POINTS)).shown
    assert "<" not in figure.spec


def test_figures_beyond_the_first_few_are_folded():
    names = [f"n{k}" for k in range(6)]
    frame = pd.DataFrame({"name": names, "score": range(6)})
    chart = Chart("points", x="name", y="score", title="t", each="name")
    shown = section(table(frame, chart))
    assert len(shown.shown) == table_sections.OPEN
    assert len(shown.folded) == 2
    assert len({figure.id for figure in (*shown.shown, *shown.folded)}) == 6


def test_twice_the_configurations_draw_no_more_figures():
    most, counts = section_plots.DRAWN, []
    for groups in (most, 2 * most, 4 * most):
        frame = pd.DataFrame({"name": [f"n{number}" for number in range(groups)], "score": 0.5})
        shown = section(table(frame.assign(empty=None), replace(POINTS, each="name")))
        counts.append((len(shown.shown) + len(shown.folded), shown.is_cut, shown.n_rows))
    assert counts == [(most, False, most), (most, True, 2 * most), (most, True, 4 * most)]


def test_how_it_was_measured_is_the_probes_own_word():
    frame = pd.DataFrame({"name": [], "score": []})
    assert "Accuracy against rank" in section(table(frame, name="rank_chart")).description[0]
    assert section(table(frame, name="of_somebody_else")).description == []


def test_order():
    frame = pd.DataFrame({"name": ["a"], "score": [1.0]})
    names = ("latency", "configurations", "cost", "rank_chart")
    tables = {name: table(frame, name=name) for name in names}
    expected = ["rank_chart", "cost", "latency", "configurations"]
    assert [one.name for one in ordered(tables)] == expected


def test_a_section_has_one_legend_where_its_figures_share_it():
    rows = [{"run": name, "name": "a", "configuration": name, "method": "lora", "step": step,
             "score": score, "empty": None, "suite": suite}
            for name, score in (("lora rank=1", 0.1), ("lora rank=8", 0.9))
            for step in (0, 1) for suite in ("s", "t")]  # fmt: skip
    chart = Chart("line", x="step", y="score", title="t", by="configuration", each="suite")
    shown = section(table(pd.DataFrame(rows), chart))
    assert [entry.name for entry in shown.legend] == ["LoRA, rank 1", "LoRA, rank 8"]
    assert shown.is_labeled_directly
    assert len(shown.shown) == 2
    assert section(table(pd.DataFrame(rows[:4]), POINTS)).legend == ()


def test_cells_have_names_and_downloads_keys():
    frame = pd.DataFrame({"configuration": ["lora rank=1"], "score": [0.5]})
    shown = section(table(frame))
    assert texts(shown) == [["LoRA, rank 1", "0.5"]]
    assert unpacked(shown).splitlines()[1] == "lora rank=1,0.5"

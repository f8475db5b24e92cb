import re

import finished
import pandas as pd

from peftlens.probes import divergence
from peftlens.reports import page
from peftlens.reports.colored_text import MOST, passages
from peftlens.results import table
from peftlens.results.table import Table

HOSTILE = "</span><img␣src=x␣onerror=alert(1)>"


def row(**changes):
    return {
        "run": "r", "configuration": "lora", "seed": 0, "status": "measured", "text": "task",
        "part": "passage", "kl": 0.0, "token": "␣a", "base_expects": "b 0.50",
        "tuned_expects": "c 0.70", "base_probability": 0.25, "tuned_probability": 0.125, "line": 0,
        "context": "",
    } | changes  # fmt: skip


def of(*rows):
    frame = pd.DataFrame([row(**one) for one in rows])
    return {"divergence": Table("divergence", 1, divergence.COLUMNS, (), frame)}


def test_colors_follow_the_divergence():
    edges = [0.0, 0.009, 0.01, 0.1, 0.5, 1.0, 2.0, 17.0]
    (passage,) = passages(of(*({"kl": kl} for kl in edges)))
    assert [token.level for token in passage.tokens] == [0, 0, 1, 2, 3, 4, 5, 5]
    assert passage.name == "lora, seed 0: the task's text"
    assert passage.finding.startswith("8 tokens: mean 2.577 nats, 3 of at least 1 nat; the largest")
    assert "the base expects b 0.50; the tuned model c 0.70." in passage.finding
    for part in ("17", "base: b 0.50", "tuned: c 0.70", "base 0.25, tuned 0.125"):
        assert part in passage.tokens[-1].hover


def test_lines_begin_where_a_text_or_a_line_of_it_does():
    rows = [
        {"token": "one", "context": "␣first"},
        {"token": "<U+000A>", "context": "␣firstone"},
        {"token": "two", "context": "one<U+000A>"},
        {"token": "new", "line": 1, "context": "The"},
    ]
    (passage,) = passages(of(*rows))
    assert [token.text for token in passage.tokens] == ["one", "↵", "two", "new"]
    assert [token.starts_line for token in passage.tokens] == [False, False, True, True]
    assert [token.before for token in passage.tokens] == [" first", "", "", "The"]


def test_only_passages_of_the_first_runs_are_shown():
    many = passages(of({"part": "all"}, *({"run": str(n)} for n in range(MOST + 5))))
    assert len([*many]) == MOST
    assert list(passages({})) == []
    assert list(passages(of({"status": "not_applicable"}))) == []


def test_the_page_shows_a_run_s_passage_with_its_text_escaped(tmp_path):
    """In the section on the probe; the same for a study and for a single run."""
    study = finished.study(tmp_path, [finished.lora(8, 0)], probes=("cost",))
    (run,) = (study / "runs").iterdir()
    frame = pd.DataFrame([row(token=HOSTILE, tuned_expects=f"{HOSTILE} 0.70", kl=1.5)])
    frame = frame.drop(columns=["run", "configuration", "seed"]).assign(reason=None)
    columns = (*divergence.COLUMNS, *table.STATUS)
    frame = frame.reindex(columns=[column.name for column in columns])
    (run / "probes").mkdir(exist_ok=True)
    one = Table("divergence", 1, columns, divergence.CHARTS, frame, {}, (run.name,))
    table.write(one, run / "probes" / "divergence.parquet")
    shown = page.render([run])
    assert "<img" not in shown
    (span,) = re.findall(r'<span class="kl4" title="([^"]*)">(.*?)</span>', shown, re.DOTALL)
    assert span[1] == "&lt;/span&gt;&lt;img src=x onerror=alert(1)&gt;"
    assert "tuned: &lt;/span&gt;&lt;img␣src=x" in span[0]
    assert re.search(r'<span class="kl5">from 2.0</span>', shown)
    assert page.render([run]) == shown

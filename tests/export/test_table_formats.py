import html.parser
import re

import finished
import numpy as np
import pandas as pd
import pytest

from peftlens.export import table_formats
from peftlens.export.benchmark_table import benchmark_table
from peftlens.io import escaping
from peftlens.results import study_results

HOSTILE = "</script><img onerror=x>{{7*7}}\u202e=cmd() $x$ \\input{y} a|b -->"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    configs = [finished.lora(1, 0), finished.lora(8, 0, init=HOSTILE)]
    return study_results.read(finished.study(tmp_path_factory.mktemp("s"), configs, name=HOSTILE))


@pytest.fixture(scope="module")
def found(one):
    return benchmark_table(one, ("accuracy", "trainable"))


def test_csv_comes_back(one, found):
    text = table_formats.csv(one, found)
    back = escaping.from_csv(text)
    assert back["mean"].tolist() == found["mean"].tolist()
    assert back["configuration"].tolist() == found["configuration"].tolist()
    assert back.columns.tolist() == found.columns.tolist()
    assert text.startswith("# peftlens table ")


def test_every_format_begins_with_its_source(one, found):
    for name, write in table_formats.FORMATS.items():
        head = "\n".join(write(one, found).splitlines()[:3])
        assert "peftlens 0.1.0" in head, name
        assert one.sha256 in head, name
        assert "2 runs of an unrecorded date" in head, name


def test_latex_holds_no_command_of_a_name(one, found):
    text = table_formats.latex(one, found)
    body = text[text.index(r"\begin{table}") :]
    assert r"\toprule" in body
    assert r"\input" not in body
    assert r"\textbackslash{}input\{y\}" in body
    assert r"\textless{}U+202E\textgreater{}" in body
    assert not re.search(r"(?<!\\)\$x", body)
    assert "\n" not in body[body.index(r"\caption{") : body.index("}\n\\label")]


def test_markdown_holds_no_markup_of_a_name(one, found):
    head, table = table_formats.markdown(one, found).split("\n\n", 1)
    assert all(line.startswith("<!-- ") and line.endswith(" -->") for line in head.splitlines())
    assert not any("-->" in line[:-3] for line in head.splitlines())
    assert "<" not in table
    assert r"\$x\$" in table
    assert r"\{\{7\*7}}" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, _):
        self.seen.add(tag)


def test_html_holds_no_element_of_a_name(one, found):
    parser = Tags()
    parser.feed(table_formats.as_html(one, found))
    assert parser.seen <= {"style", "table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_only_what_is_separated_is_bold(one):
    rows = [
        {"configuration": name, "task": "t", "metric": "accuracy", "unit": "1", "mean": mean,
         "ci_low": mean - 0.02, "ci_high": mean + 0.02, "ci_method": "m", "n_seeds": 3,
         "n_items": 300, "best": best}
        for name, mean, best in (("a", 0.9, True), ("b", 0.8, False))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert "| **a** |" not in table_formats.markdown(one, table)
    assert "| **0.900 (0.880 to 0.920)** |" in table_formats.markdown(one, table)
    assert r"a & \bfseries 0.900 (0.880 to 0.920) \\" in table_formats.latex(one, table)
    assert "Bold: a paired test" in table_formats.caption(one, table)
    assert "Bold" not in table_formats.caption(one, table.assign(best=False))
    assert "3 seeds, 300 items" in table_formats.caption(one, table)


def test_units_and_what_is_missing(one):
    rows = [
        {"configuration": name, "task": "t", "metric": metric, "unit": unit, "mean": 1.5,
         "ci_low": np.nan, "ci_high": np.nan, "ci_method": "", "n_seeds": 1, "n_items": None,
         "best": False}
        for name, metric, unit in (("a", "time", "s"), ("b", "share", "1"))
    ]  # fmt: skip
    text = table_formats.markdown(one, pd.DataFrame(rows))
    assert "| configuration | time (s) | share |" in text
    assert "| a | 1.5 | – |" in text


def test_a_task_has_a_column_where_there_are_several(one, found):
    both = pd.concat([found, found.assign(task="other")])
    assert "| configuration | task | accuracy |" in table_formats.markdown(one, both)

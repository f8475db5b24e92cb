import re
import sys

import numpy as np
import pandas as pd
import pytest

from peftlens.cli.output import print_frame, print_groups, print_table, print_text, shared_rows


@pytest.fixture
def terminal(monkeypatch, capsys):
    """A terminal of 40 columns; gives its lines, without codes for bold."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)

    def lines():
        text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        return [line.rstrip() for line in text.splitlines()]

    return lines


def test_columns_without_a_value_are_left_out(capsys):
    print_frame(pd.DataFrame({"a": [0.123456, None], "b": [None, None]}))
    out = capsys.readouterr().out
    assert "0.1235" in out
    assert "b" not in out


def test_lists_in_cells_are_joined(capsys):
    print_frame(pd.DataFrame({"ids": [[1200, 3]], "near": [np.array([0.123456, 1.0])]}))
    row = capsys.readouterr().out.splitlines()[3]
    assert row.split() == ["1200", "3", "0.1235", "1"]


def test_marks_in_cells_stay_text(capsys):
    print_table(["word"], [["[red]x[/red]"]])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_groups_are_aligned_and_wrap_only_their_last_column(terminal):
    long = "a sentence that does not fit into the rest of the line"
    print_groups(
        ["name", "what"],
        {"First": [["short", "one"]], "Second": [["a_name_of_twenty_two__", long]]},
    )
    assert terminal() == [
        "First",
        "name                    what",
        "short                   one",
        "",
        "Second",
        "a_name_of_twenty_two__  a sentence that",
        "                        does not fit",
        "                        into the rest of",
        "                        the line",
        "",
    ]


def test_a_group_without_a_title_has_none(terminal):
    print_groups(["name", "what"], {"": [["a", "[b]one[/b]"]]})
    assert terminal() == ["name  what", "a     [b]one[/b]", ""]


def test_paragraphs_are_wrapped_and_indented_ones_keep_their_lines(terminal):
    print_text("A first line that goes\non in the source.\n\nLines:\n    one\n    two", indent=2)
    assert terminal() == [
        "  A first line that goes on in the",
        "  source.",
        "",
        "  Lines:",
        "      one",
        "      two",
    ]


def test_rows_that_all_runs_share_are_those_of_one():
    facts = pd.DataFrame({"part": ["a", "b"], "share": [0.25, 0.75]})
    frame = pd.concat([facts.assign(run=run, seed=seed) for seed, run in enumerate("xyz")])
    pd.testing.assert_frame_equal(shared_rows(frame), facts)
    assert shared_rows(frame[frame["run"] == "x"]) is None
    assert shared_rows(frame.assign(share=frame["share"] + frame["seed"])) is None
    assert shared_rows(facts) is None

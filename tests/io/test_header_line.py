import time

import pytest

from peftlens.io.header_line import missing_header_hint, separator_hint


@pytest.mark.parametrize(
    ("header", "separator", "hint"),
    [
        (["text;label"], ",", '; its cells look separated by semicolons: write separator = ";"'),
        (["text\tlabel"], ",", r'; its cells look separated by tabs: write separator = "\t"'),
        (["text|label"], ",", '; its cells look separated by bars: write separator = "|"'),
        (["text,label"], ";", '; its cells look separated by commas: write separator = ","'),
        (["a;b|c;d"], ",", '; its cells look separated by semicolons: write separator = ";"'),
        (["text"], ",", ""),
        (["a;b", "c"], ",", ""),  # two columns already
        ([], ",", ""),
    ],
)
def test_separators_by_the_header(header, separator, hint):
    assert separator_hint(header, separator) == hint


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (["Very good", "pos"], [["Bad", "neg"], ["Nice", "pos"]]),  # a label comes again
        (["3", "Very good"], [["1", "Bad"]]),  # a number
        (["3,5", "Very good"], [["1", "Bad"]]),
        (["It works.", "pos"], [["It broke.", "neg"]]),  # a sentence
        (["x" * 101, "pos"], [["y", "neg"]]),  # a long text
    ],
)
def test_first_lines_of_data(header, rows):
    hint = missing_header_hint(header, rows)
    assert hint.startswith("; its first line looks like data, not like names of columns")
    assert hint.endswith("such as text,label")


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (["review", "stars"], [["Very good", "5"]]),
        (["review", "stars"], [["review", "stars"], ["Very good", "5"]]),  # two files in one
        (["", "text", "label"], [["", "x", "a"]]),  # an index without a name
        (["text", "label"], []),
        (["No. of stars", "Is it good?!x"], [["5", "yes"]]),
        ([], []),
    ],
)
def test_names_of_columns(header, rows):
    assert missing_header_hint(header, rows) == ""


def test_a_very_wide_table_takes_no_time():
    header = [f"c{n}" for n in range(20_000)]
    started = time.perf_counter()
    assert missing_header_hint(header, [["x"] * 20_000] * 1000) == ""
    assert time.perf_counter() - started < 2


def test_a_wide_table_is_told_names_in_general():
    assert missing_header_hint(["1", "2", "3"], [["4", "5", "6"]]).endswith("such as text,...")

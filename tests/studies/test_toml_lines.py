import tomllib
from pathlib import Path

import pytest

import peftlens
from peftlens.studies.toml_lines import TomlLines

FILES = [
    Path(peftlens.__file__).parent / "quickstart.toml",
    *sorted((Path(__file__).parents[2] / "analyses").glob("*.toml")),
]

TEXT = '''\
name = "a # b = [1"  # seeds = [
seeds = [
  0,  # first
  1,
]
"quoted key" = 1
training.max_steps = 3
[task]
name = """
[runs]
"""
split = { seed = 1,
  "max.train" = 2 }

[probe_options.forgetting]
items = 5
[[runs]]
method = 'lora'
grid = { rank = [
  1, 2],
  alpha = [3] }
[[runs]]
method = "ia3"
[runs.training]
max_steps = 1
[full_scale]
[[full_scale.runs]]
method = "full"
'''


def _places(value, place=()):
    yield place
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        if isinstance(member, dict | list):
            yield from _places(member, (*place, key))
        else:
            yield (*place, key)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_of_a_file_is_in_its_line(file):
    text = file.read_text()
    found, lines = TomlLines.of(text), text.splitlines()
    places = {place for place in _places(tomllib.loads(text)) if place}
    assert found.lines.keys() == places
    assert (found.twice, found.unclosed) == (None, None)
    for place, line in found.lines.items():
        if isinstance(place[-1], str):
            assert place[-1] in lines[line - 1]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("name",), 1),
        (("seeds",), 2),
        (("seeds", 1), 4),
        (("quoted key",), 6),
        (("training", "max_steps"), 7),
        (("task", "name"), 9),
        (("task", "split", "seed"), 12),
        (("task", "split", "max.train"), 13),
        (("task", "missing"), 8),
        (("probe_options", "forgetting", "items"), 16),
        (("runs",), 17),
        (("runs", 0), 17),
        (("runs", 0, "method"), 18),
        (("runs", 0, "grid", "rank", 1), 20),
        (("runs", 0, "grid", "alpha"), 21),
        (("runs", 1), 22),
        (("runs", 1, "training", "max_steps"), 25),
        (("full_scale", "runs", 0, "method"), 28),
        (("nowhere",), 1),
    ],
)
def test_lines_of_places(place, line):
    assert TomlLines.of(TEXT).line(place) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\na = [\n 1]", (("a",), 1, 3)),
        ("[a]\nx = 1\n[b]\n[a]", (("a",), 1, 4)),
        ("a = { x = 1,\n x = 2 }", (("a", "x"), 1, 2)),
        ("runs = []\n[[runs]]", (("runs",), 1, 2)),
        ("[[runs]]\nx.y = 1\nx.y = 2", (("runs", 0, "x", "y"), 2, 3)),
        ("[[runs]]\nx = 1\n[[runs]]\nx = 1", None),
    ],
)
def test_a_key_that_stands_twice(text, expected):
    assert TomlLines.of(text).twice == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = [1,\n 2\nc = 3", 2),
        ("a = 1\nb = { x = [\n1]\n\nc = 3", 2),
        ("a = [", 1),
        ('a = 1\nb = "x\nc = 1', 2),
        ('a = 1\nb = """x\nc = 1', 2),
        ("a = [1]", None),
    ],
)
def test_what_has_no_end(text, line):
    assert TomlLines.of(text).unclosed == line


def test_deep_nesting_ends_the_scan():
    found = TomlLines.of("a = 1\nb = " + "[" * 100_000)
    assert (found.deep, found.line(("a",))) == (2, 1)

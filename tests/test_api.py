"""docs/api.md is the public API: every name, with a text and an example."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import peftlens as pl

PAGE = Path(__file__).parent.parent / "docs" / "api.md"


def test_every_name_is_on_the_page_once():
    names = re.findall(r"^::: peftlens\.(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(names) == sorted({*pl.__all__} - {"__version__"})


@pytest.mark.parametrize("name", pl.__all__)
def test_every_name_is_shown_and_has_an_example(name):
    assert name in dir(pl)
    if name != "__version__":
        doc = inspect.getdoc(getattr(pl, name))
        (example,) = re.findall(r"Example:\n    ```python\n(.*?)    ```", doc, re.DOTALL)
        assert f"pl.{name}" in example or isinstance(getattr(pl, name), type)
        compile(textwrap.dedent(example), name, "exec")


@pytest.mark.parametrize("name", ["Run", "Study", "Table"])
def test_what_a_notebook_shows(name):
    assert hasattr(getattr(pl, name), "_repr_html_")


def test_what_editors_complete_is_what_is_loaded():
    tree = ast.parse(Path(pl.__file__).read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    typed = {one.name: node.module for node in imports for one in node.names}
    loaded = {name: f"peftlens.{module}" for name, module in pl._MODULES.items()}
    assert typed.items() >= loaded.items()
    assert sorted([*loaded, "__version__"]) == sorted(pl.__all__)


def test_type_checkers_are_told_of_the_types():
    assert (Path(pl.__file__).parent / "py.typed").exists()


def test_an_unknown_name_is_none_of_it():
    with pytest.raises(AttributeError, match="module 'peftlens' has no attribute 'load'"):
        _ = pl.load

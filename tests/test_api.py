"""docs/api.md is the public API: every name with its signature, text and example.

`python tests/test_api.py` writes the page.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from types import FunctionType

import pytest

import peftlens as pl

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
HEAD = """# Python API

Written by `python tests/test_api.py` from the docstrings. A test compares.

`import peftlens as pl` takes no time: torch and the rest are imported on first use.
[notebook.ipynb](notebook.ipynb) shows most of it in one place.
"""
SECTIONS = {
    "Lists": ("list_methods", "list_tasks", "list_probes", "list_claims"),
    "Training": ("train", "RunConfig", "TrainingConfig", "Run"),
    "Measuring": ("lens", "Lens", "probe", "Table"),
    "Adapters": ("load_adapter", "inspect_adapter", "compare_adapters", "truncate_adapter",
                 "convert", "combine", "merge", "load_base_model", "AdapterSet"),
    "Studies": ("run_study", "load_study", "Study"),
    "Pages": ("report", "explore"),
    "A training loop of your own": ("track", "PeftLensCallback"),
    "Errors": ("InputError",),
}  # fmt: skip
TITLES = ("Example", "Args", "Attributes", "Returns", "Raises")


def page() -> str:
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *map(entry, names)]
    return "\n".join(parts)


def entry(name: str) -> str:
    one = getattr(pl, name)
    parts = [f"### `{name}`\n", text(one), *members(one)]
    if call := signature(one):
        parts.insert(1, f"```python\n{call}\n```\n")
    return "\n".join(parts)


def signature(one: object) -> str:
    """As the source writes it; of a class that of its constructor, if it has one."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
    found = (n for n in ast.walk(node) if isinstance(n, ast.FunctionDef))
    if isinstance(node, ast.ClassDef):
        found = (n for n in found if n.name == "__init__")
    function = next(found, None)
    return call(node.name, function) if function else ""


def call(name: str, function: ast.FunctionDef) -> str:
    result = ast.unparse(function.returns).strip("'") if function.returns else "None"
    result = "" if result == "None" else f" -> {result}"
    given = ast.unparse(function.args).removeprefix("self, ").removeprefix("self")
    given = re.sub(r"(: [^=,]+)=", r"\1 = ", given)
    line = f"{name}({given}){result}"
    if len(line) <= 88:
        return line
    parts = re.split(r", (?=(?:\*|\w+: |\w+=))(?![^\[]*\])", given)
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def text(one: object) -> str:
    """A docstring as Markdown."""
    doc = inspect.getdoc(one) or ""
    for title in TITLES:
        doc = re.sub(rf"^{title}:\n((?:    .*\n?|\n)+)", lambda m: section(m), doc, flags=re.M)
    return doc.rstrip() + "\n"


def section(match: re.Match) -> str:
    title, body = match[0].partition(":")[0], textwrap.dedent(match[1])
    if title == "Example":
        return f"{body.strip()}\n\n"
    if title == "Returns":
        return f"**Returns** {body.strip()}\n\n"
    items = re.sub(r"^(\w+): ", r"- `\1`: ", body.strip(), flags=re.M)
    return f"**{title}**\n\n{items}\n\n"


def members(one: object) -> list[str]:
    """The methods and properties that a class of ours brings, each in a line."""
    if not isinstance(one, type):
        return []
    ours = [kind for kind in reversed(one.__mro__) if kind.__module__.startswith("peftlens")]
    theirs = [kind for kind in one.__mro__ if kind not in ours]
    found = {
        name: member
        for kind in ours
        for name, member in vars(kind).items()
        if not name.startswith("_") and not any(hasattr(other, name) for other in theirs)
        if isinstance(member, (FunctionType, property)) or hasattr(member, "attrname")
    }
    lines = [f"- `{written(name, member)}`: {summary(member)}" for name, member in found.items()]
    return ["\n".join(lines) + "\n"] if lines else []


def written(name: str, member: object) -> str:
    if not isinstance(member, FunctionType):
        return name
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(member))).body
    return f"{call(name, node)}"


def summary(member: object) -> str:
    return (inspect.getdoc(member) or "").partition("\n")[0]


def test_the_page_is_the_api():
    assert PAGE.read_text() == page()


def test_every_name_is_on_the_page_once():
    names = [name for names in SECTIONS.values() for name in names]
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


if __name__ == "__main__":
    PAGE.write_text(page())

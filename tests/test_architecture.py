"""docs/architecture.md is the tree as it is: one line for every file, in its own words.

`python tests/test_architecture.py` writes the page.
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
HEAD = """# Architecture

Written by `python tests/test_architecture.py` from the first line of each module. A test compares.

Training writes run folders. Probes read run folders and write tables. Claims, figures, report,
explorer and exports read tables. Nothing upstream knows what reads it:

```
study file -> studies (grid, scheduler, workers) -> training -> runs/RUN_ID
runs/RUN_ID -> probes -> tables -> claims, figures -> report, explorer, export
```

A file of `methods`, `tasks`, `probes` or `claims` is a plug-in: its name is the name that users
write, and no list has to be edited.

Imports point down this list, and never sideways between packages of one line (`lint-imports`):

"""


def summary(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return contracts["contracts"][0]["layers"]


def tree() -> list[str]:
    package = ROOT / "peftlens"
    lines = [f"{package.name}/"]
    lines += [entry(file, 1) for file in sorted(package.glob("*.py"))]
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        lines += ["", f"  {f'{folder.name}/':<32}{summary(folder / '__init__.py')}"]
        files = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
        lines += [entry(file, 2) for file in files]
    return lines


def entry(file: Path, depth: int) -> str:
    return f"{'  ' * depth + file.name:<34}{summary(file)}"


def page() -> str:
    order = "".join(f"- {line}\n" for line in layers())
    return HEAD + order + "\n```\n" + "\n".join(tree()) + "\n```\n"


def test_the_page_is_the_tree():
    assert PAGE.read_text() == page()


def test_every_file_says_what_it_is():
    silent = [str(file) for file in (ROOT / "peftlens").rglob("*.py") if not summary(file)]
    assert not silent


if __name__ == "__main__":
    PAGE.write_text(page())

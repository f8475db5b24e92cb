"""Page of a notebook: its text, its code and what the cells showed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


def notebook_page(file: Path) -> str:
    """Return a notebook as Markdown, with a link to the notebook itself after the title.

    Args:
        file: the notebook, of version 4; outputs are HTML, plain text or streams of text.
    """
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    parts = [part for cell in cells for part in _cell(cell)]
    title, _, rest = parts[0].partition("\n")
    link = f'<a href="{file.name}" download>Download the notebook</a>'  # in Markdown: this page
    return "\n\n".join([title, link, rest.strip(), *parts[1:]])


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield _fenced("python", source)
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        html = _STYLE.sub("", "".join(data["text/html"]))
        lines = [line for line in html.splitlines() if line.strip()]
        return f'<div class="cell-output">{"".join(lines)}</div>'
    return _fenced("text", "".join(data.get("text/plain", output.get("text", ""))))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"

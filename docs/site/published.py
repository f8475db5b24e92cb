"""List of the published report pages, with the name and the size of each."""

import re
from pathlib import Path

_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_HEAD = """# Published pages

Each of these pages was written by `peftlens report` and opens without a network. A folder beside
it has its tables and what they show.

| page | title | size | tables |
|---|---|---|---|
"""


def published_page(reports: Path) -> str:
    """Return the page that links to every report of a folder.

    Args:
        reports: folder of pages; a folder of the same name has the tables of a page.
    """
    return _HEAD + "".join(_row(page) for page in sorted(reports.glob("*.html")))


def _row(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    title = _TITLE.search(text)
    size = f"{page.stat().st_size / 1e6:.1f} MB"
    tables = f"[{page.stem}](../reports/{page.stem}/README.md)"
    link = f"[{page.name}](../reports/{page.name})"
    return f"| {link} | {title[1].strip() if title else ''} | {size} | {tables} |\n"

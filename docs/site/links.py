"""Links of Markdown pages, from paths of the repository to paths of the site."""

import os
import re
from collections.abc import Callable
from pathlib import PurePosixPath

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
_RENAMED = {
    "README.md": "index.md",  # of the repository: the site has its own first page
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/notebook.ipynb": "notebook.md",
}


def place(path: PurePosixPath) -> PurePosixPath:
    """Return a file's path in the site.

    Args:
        path: path in the repository.
    """
    if str(path) in _RENAMED:
        return PurePosixPath(_RENAMED[str(path)])
    if path.parts[0] == "docs":
        path = path.relative_to("docs")
    return path.with_name("index.md") if path.name == "README.md" else path


def moved(
    text: str, page: PurePosixPath, target_of: Callable[[PurePosixPath], PurePosixPath]
) -> str:
    """Return a page whose relative links lead to the same files of the site.

    Args:
        text: the page's Markdown; code is left alone.
        page: path of the page in the repository.
        target_of: function from a linked path of the repository to the linked file's path there.
    """
    folder = place(page).parent

    def link(match: re.Match[str]) -> str:
        linked = os.path.normpath(page.parent / match[2])
        target = place(target_of(PurePosixPath(linked)))
        return match[1] + os.path.relpath(target, folder)

    parts = _CODE.split(text)
    return "".join(part if odd % 2 else _LINK.sub(link, part) for odd, part in enumerate(parts))

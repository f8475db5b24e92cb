"""Links of Markdown pages, from paths of the repository to paths of the site."""

import os
import re
from collections.abc import Callable
from pathlib import PurePosixPath

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?:\[([^][\n]*)\]|\])\((?!\w+:|#)([^)#\s]+)")
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


class Links:
    """Links of the pages of a repository, rewritten for the site.

    Args:
        target_of: function from a linked path of the repository to the linked file's path there.
        title_of: function from a path of the repository to the title of that page, or to "".
    """

    def __init__(
        self,
        target_of: Callable[[PurePosixPath], PurePosixPath],
        title_of: Callable[[PurePosixPath], str],
    ) -> None:
        self._target_of = target_of
        self._title_of = title_of

    def moved(self, text: str, page: PurePosixPath) -> str:
        """Return a page whose relative links lead to the same files of the site.

        A link whose text is the name of a page shows the page's title in its place.

        Args:
            text: the page's Markdown; code is left alone.
            page: path of the page in the repository.
        """
        parts = _CODE.split(text)
        return "".join(
            part if odd % 2 else _LINK.sub(lambda match: self._link(match, page), part)
            for odd, part in enumerate(parts)
        )

    def _link(self, match: re.Match[str], page: PurePosixPath) -> str:
        text, path = match[1], match[2]
        target = self._target_of(PurePosixPath(os.path.normpath(page.parent / path)))
        if text and text.endswith(".md") and path.endswith(text):
            text = self._title_of(target) or text
        start = "]" if text is None else f"[{text}]"
        return f"{start}({os.path.relpath(place(target), place(page).parent)}"

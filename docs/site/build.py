"""Build the site of the docs: `python docs/site/build.py [OUT]`, by default into site/.

Pages are those of docs/ and reports/, with whatever else they link to. Zensical turns them into
HTML and refuses links that lead nowhere. Zensical follows Material for MkDocs, whose authors
maintain it no longer; MkDocs 1 has had no release since August 2024. It needs no network, and the
site loads nothing from elsewhere.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).parent))

from links import Links, place
from notebook_page import notebook_page
from published import published_page

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ASSETS = ("extra.css", "extra.js", "logo.svg")
NEED_AN_ADDRESS = ("404.html", "sitemap.xml")  # their links are absolute


def build(out: Path) -> None:
    """Write the site into a folder, which is replaced.

    Raises:
        SystemExit: a page has a link that leads nowhere, or Zensical has another warning.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "zensical.toml").write_text(configuration(), encoding="utf-8")
        (work / "peftlens").symlink_to(ROOT / "peftlens")
        Sources(work / "docs").write()
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(
            command, cwd=work, env=os.environ | {"NO_COLOR": "1"},
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        if "No module named zensical" in done.stderr:
            raise SystemExit('zensical is missing: python -m pip install -e ".[docs]"')
        if done.returncode or "Warning" in done.stdout + done.stderr:
            raise SystemExit(f"the site was not built:\n{done.stdout}{done.stderr}")
        for name in NEED_AN_ADDRESS:
            (work / "site" / name).unlink()
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(work / "site", out)


def configuration() -> str:
    """Return the configuration of Zensical, each analysis of reports/ in its navigation."""
    entries = {}
    for page in ROOT.glob("reports/*/README.md"):
        if (name := page.parent.name) != "quickstart":  # the first, and named in the file
            entries[title(PurePosixPath(page.relative_to(ROOT)))] = f"reports/{name}/index.md"
    lines = [f"    {{ {json.dumps(name)} = {json.dumps(entries[name])} }},"
             for name in sorted(entries)]  # fmt: skip
    text = (HERE / "zensical.toml").read_text(encoding="utf-8")
    return re.sub(r" *# ANALYSES.*", lambda _: "\n".join(lines), text)


def title(page: PurePosixPath) -> str:
    """Return the first heading of a page of the repository, or "" if it has none."""
    text = (ROOT / page).read_text(encoding="utf-8") if page.suffix == ".md" else ""
    return text.partition("\n")[0].removeprefix("# ") if text.startswith("# ") else ""


class Sources:
    """Folder of the pages and files from which Zensical builds the site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._linked: set[Path] = set()
        self._links = Links(self._target, title)

    def write(self) -> None:
        """Write all pages, then the files that they link to."""
        for page in [*ROOT.glob("docs/*.md"), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md",
                     *ROOT.glob("reports/**/*.md")]:  # fmt: skip
            self._page(PurePosixPath(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))
        notebook = ROOT / "docs" / "notebook.ipynb"
        self._page(PurePosixPath("docs/notebook.md"), notebook_page(notebook))
        self._page(PurePosixPath("docs/published.md"), published_page(ROOT / "reports"))
        shutil.copy(notebook, self._folder)
        for name in ASSETS:
            self._copy(HERE / name, self._folder / "assets" / name)
        for path in [*self._linked, *ROOT.glob("reports/*.js")]:
            self._copy(path, self._folder / place(PurePosixPath(path.relative_to(ROOT))))

    def _page(self, page: PurePosixPath, text: str) -> None:
        file = self._folder / place(page)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._links.moved(text, page), encoding="utf-8")

    def _target(self, linked: PurePosixPath) -> PurePosixPath:
        """Return the file that stands for a linked path: of a folder its README or a list."""
        path = ROOT / linked
        if path.is_dir():
            if not (path / "README.md").exists():
                self._list(path)
            return linked / "README.md"
        if path.suffix not in (".md", ".ipynb"):
            self._linked.add(path)
        return linked

    def _list(self, folder: Path) -> None:
        """Write a page that lists the files of a folder."""
        name = PurePosixPath(folder.relative_to(ROOT))
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()
                 and "__pycache__" not in file.parts]  # fmt: skip
        lines = [f"- [{file.relative_to(folder)}]({file.relative_to(folder)})" for file in files]
        self._page(name / "README.md", f"# {name}\n\n" + "\n".join(lines) + "\n")

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "site")

"""Extras: optional packages of peftlens, and the command that installs them.

The command suits the present installation, since peftlens may have come from a clone, a file, a
repository or a package index. Source of the record: PEP 610, direct_url.json.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = "peftlens"
_SOURCES = Path(__file__).parents[2]  # folder that holds the package: a clone or site-packages


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the present installation of peftlens.

    Args:
        extra: name of the extra, as in pyproject.toml.
    """
    requirement = f"{PACKAGE}[{extra}]"
    if (_SOURCES / "pyproject.toml").is_file():
        return f'python -m pip install -e "{_shortest(_SOURCES)}[{extra}]"'
    if url := _origin():
        requirement += f" @ {url}"
    return f'python -m pip install "{requirement}"'


def _shortest(folder: Path) -> str:
    """Return `.` for the working directory, and the whole path of another folder."""
    return "." if folder == Path.cwd() else str(folder)


def _origin() -> str | None:
    """Return the URL that this peftlens was installed from; None if it came from an index."""
    try:
        record = distribution(PACKAGE).read_text("direct_url.json")
    except PackageNotFoundError:  # the package was copied, not installed
        return None
    if record is None:
        return None
    origin = json.loads(record)
    vcs = origin.get("vcs_info", {}).get("vcs")
    return f"{vcs}+{origin['url']}" if vcs else origin["url"]

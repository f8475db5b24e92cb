"""What every page that peftlens writes has in common: templates, scripts, the policy on scripts."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import write_atomic


def render(
    package: str, scripts: Sequence[str], keep: str = "", beside: Sequence[str] = (), **values: Any
) -> str:
    """A package's page.html with its page.css; the same values give the same bytes.

    Text is shown literally, whatever is in it, and no script but these can run.

    Args:
        package: that has the two files.
        scripts: in the order in which they run.
        keep: control characters that are shown as they are.
        beside: names of scripts in files beside the page, which run before the others.
        values: that the template names.
    """

    def finalize(value: Any) -> Any:
        return visible(value, keep=keep) if type(value) is str else value

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    return environment.get_template("page.html").render(
        **values,
        style=source(package, "page.css"),
        scripts=scripts,
        beside=beside,
        script_hashes=[_csp_hash(script) for script in scripts],
    )


def source(package: str, name: str) -> str:
    """Text of a file that lies in a package."""
    return files(package).joinpath(name).read_text()


def _csp_hash(script: str) -> str:
    """What a Content-Security-Policy needs to let exactly this script run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def require_place(file: Path) -> None:
    """Refuse a file in a folder that is not there, before anything is computed for it.

    Raises:
        InputError: with the folder.
    """
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is no folder; create it, or give another --out")


def write(text: str, file: Path) -> Path:
    """Write a page, or anything else that was asked for, whole or not at all.

    Raises:
        InputError: its folder is not there.
    """
    require_place(file)
    write_atomic(file, text.encode())
    return file

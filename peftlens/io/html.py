"""HTML pages: Jinja templates with autoescaping and a Content-Security-Policy by script hashes."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import write_atomic


def render(
    package: str,
    scripts: Sequence[str],
    keep: str = "",
    *,
    later: Sequence[str] = (),
    beside: Sequence[str] = (),
    **values: Any,
) -> str:
    """Render a package's page.html with its page.css; the same values give the same bytes.

    All text is escaped, and the policy lets no other script run.

    Args:
        package: dotted name of the package that holds the two files.
        scripts: source of the inline scripts, in the order in which they run.
        keep: control characters that are shown unchanged.
        later: source of scripts that the inline scripts run once they are needed.
        beside: names of script files next to the page, for the same.
        values: variables of the template.
    """
    return (
        _environment(package, keep)
        .get_template("page.html")
        .render(
            **values,
            style=source(package, "page.css"),
            scripts=scripts,
            later=later,
            beside=beside,
            script_hashes=[_csp_hash(script) for script in (*scripts, *later)],
        )
    )


def fragment(package: str, template: str, **values: Any) -> str:
    """Render one template of a package, all text escaped, as part of a page or notebook."""
    return _environment(package, "\n\t").get_template(template).render(**values)


@cache  # with the templates that it has compiled
def _environment(package: str, keep: str) -> jinja2.Environment:
    def finalize(value: Any) -> Any:
        return visible(value, keep=keep) if type(value) is str else value

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )


def source(package: str, name: str) -> str:
    """Read a text file of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    """Hash by which a Content-Security-Policy allows exactly this script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def require_place(file: Path) -> None:
    """Refuse a file whose folder does not exist, before anything is computed for it.

    Raises:
        InputError: the folder does not exist; the message names it.
    """
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is not a folder; create it, or give another --out")


def write(text: str, file: Path) -> Path:
    """Write a page or another text file atomically.

    Raises:
        InputError: the file's folder does not exist.
    """
    require_place(file)
    write_atomic(file, text.encode())
    return file

"""Digests of a run's files, written at the end of training: digests.json.

{"run": id of the run, "files": {path in the folder: SHA-256}}
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from peftlens.io.files import sha256_file

DIGESTS = "digests.json"


class Digests(BaseModel):
    """Contents of digests.json.

    Attributes:
        run: id of the run; None in files of versions that did not name it.
        files: SHA-256 of all other files written by training, by path in the folder.
    """

    model_config = ConfigDict(frozen=True)

    run: str | None = None
    files: dict[str, str]


_FORMATS: TypeAdapter[Digests | dict[str, str]] = TypeAdapter(Digests | dict[str, str])


def read(file: Path) -> Digests:
    """Read digests.json, in the present format or as plain digests by path.

    Raises:
        FileNotFoundError: there is no such file.
        ValidationError: the file is damaged.
    """
    contents = _FORMATS.validate_json(file.read_bytes())
    return contents if isinstance(contents, Digests) else Digests(files=contents)


def digests_of(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Compute the SHA-256 of all files in a folder, by path; hidden files are left out.

    Args:
        folder: folder of the files.
        known: digests that need not be computed again, by path.
    """
    known = known or {}
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    paths = {file.relative_to(folder).as_posix(): file for file in files}
    return {
        path: known.get(path) or sha256_file(file)
        for path, file in paths.items()
        if not file.name.startswith(".")
    }


def write(folder: Path, run: str | None, known: Mapping[str, str] | None = None) -> None:
    """Write digests.json with the SHA-256 of all other files; see `digests_of`."""
    contents = {"run": run, "files": digests_of(folder, known)}
    (folder / DIGESTS).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")

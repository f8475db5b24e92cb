"""What failed in a study, a file each: failed/<run_id>.json or failed/<probe>.json.

Each says what it was, what went wrong in a line, and, as far as there are any, error, traceback and
the worker's log.
"""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from peftlens.io.files import write_json
from peftlens.results.outcomes import Problem


def record(study: Path, key: str, what: str, problem: Problem) -> str:
    """Keep a failure; returns it in a line.

    Args:
        study: its folder.
        key: run id or probe.
        what: the same for people.
        problem: the outcome of its job.
    """
    about = {"what": what, "told": problem.error_summary}
    about |= problem.model_dump(include={"error", "traceback", "log"})
    (study / "failed").mkdir(exist_ok=True)
    write_json(study / "failed" / f"{key}.json", about)
    return _line(about)


def details(study: Path) -> dict[str, dict[str, str]]:
    """What failed, all that is known of it, by run id or probe."""
    found = {}
    for file in sorted((study / "failed").glob("*.json")):
        with suppress(FileNotFoundError):  # tried once more, just now
            found[file.stem] = json.loads(file.read_text())
    return found


def recorded(study: Path) -> dict[str, str]:
    """What failed, a line each, by run id or probe."""
    return {key: _line(about) for key, about in details(study).items()}


def forget(study: Path, keep: Collection[str]) -> None:
    """Delete the records of all but these."""
    for file in (study / "failed").glob("*.json"):
        if file.stem not in keep:
            file.unlink(missing_ok=True)


def _line(about: dict[str, str]) -> str:
    return f"{about['what']}: failed: {about['told']}"

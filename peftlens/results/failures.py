"""Records of a study's failures: failed/<run_id>.json or failed/<probe>.json.

Each file holds a description, a one-line summary of the problem and, where available, the error,
its traceback and the worker's log.
"""

import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from peftlens.io.files import write_json
from peftlens.results.outcomes import Problem


def record(study: Path, key: str, description: str, problem: Problem) -> str:
    """Write the record of a failure; return it as one line.

    Args:
        study: folder of the study.
        key: id of the run or name of the probe.
        description: name of the run or probe for people.
        problem: outcome of the failed job.
    """
    failure = {"what": description, "summary": problem.error_summary}
    failure |= problem.model_dump(include={"error", "traceback", "log"})
    (study / "failed").mkdir(exist_ok=True)
    write_json(study / "failed" / f"{key}.json", failure)
    return _line(failure)


def details(study: Path) -> dict[str, dict[str, str]]:
    """Read the complete records of failures, by run id or probe."""
    failures = {}
    for file in sorted((study / "failed").glob("*.json")):
        with suppress(FileNotFoundError):  # deleted by a concurrent retry
            failures[file.stem] = json.loads(file.read_text())
    return failures


def recorded(study: Path) -> dict[str, str]:
    """Read the one-line summaries of failures, by run id or probe."""
    return {key: _line(failure) for key, failure in details(study).items()}


def forget(study: Path, keep: Collection[str]) -> None:
    """Delete the records of all failures except those to keep."""
    for file in (study / "failed").glob("*.json"):
        if file.stem not in keep:
            file.unlink(missing_ok=True)


def _line(failure: dict[str, str]) -> str:
    return f"{failure['what']}: failed: {failure['summary']}"

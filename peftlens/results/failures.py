"""Records of a study's failures: failed/<run_id>.json or failed/<probe>.json.

Each file holds a description, a one-line summary of the problem and, where available, the error,
its traceback and the worker's log.
"""

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

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


_DAMAGED = " is a damaged record of a failure; --retry-failed tries again"


class _Failure(BaseModel):
    """Record of a failure, with text in every entry."""

    model_config = ConfigDict(extra="forbid")

    what: str
    summary: str
    error: str = ""
    traceback: str = ""
    log: str = ""


def details(study: Path) -> dict[str, dict[str, str]]:
    """Read the complete records of failures, by run id or probe; damaged records say so."""
    failures = {}
    for file in sorted((study / "failed").glob("*.json")):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            record = _Failure.model_validate_json(file.read_bytes())
            failures[file.stem] = record.model_dump(exclude_unset=True)
        except FileNotFoundError:
            continue  # deleted by a concurrent retry
        except ValidationError:
            failures[file.stem] = {"what": file.stem, "summary": f"{file}{_DAMAGED}"}
    return failures


def is_damaged(failure: dict[str, str]) -> bool:
    """Return whether the file of a failure can't be read."""
    return failure["summary"].endswith(_DAMAGED)


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

"""Outcomes of a study's jobs: messages from workers to the supervisor."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """Immutable message between processes, sent as JSON; unknown keys are errors."""

    # TOML has inf and nan, and so may the options of a probe
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Done(Message):
    """Outcome of a finished job.

    Attributes:
        result: return value of the worker's action; the request's kind decides its type.
    """

    kind: Literal["done"] = "done"
    result: Any = None


class Problem(Message):
    """Base class of all outcomes without a result.

    Attributes:
        error_summary: reason, in one line.
    """

    error_summary: str


class Failed(Problem):
    """Outcome of an action that raised an error.

    Attributes:
        error: type and text of the error.
        traceback: traceback in Python's format.
        is_input_error: whether the user can correct the error.
    """

    kind: Literal["failed"] = "failed"
    error: str
    traceback: str
    is_input_error: bool


class Died(Problem):
    """Outcome of a job whose worker process ended first.

    Attributes:
        log: end of the worker's output during the job.
        activity: last activity announced by the worker: the probe, if it was measuring.
        is_retryable: whether the same job may succeed in a new worker.
    """

    kind: Literal["died"] = "died"
    log: str
    activity: str | None = None
    is_retryable: bool


class Locked(Problem):
    """Outcome of a job whose run is locked by another process."""

    kind: Literal["locked"] = "locked"


class Corrupted(Problem):
    """Outcome of a job whose run has changed or missing files."""

    kind: Literal["corrupted"] = "corrupted"


class DiskError(Problem):
    """Outcome of a job on a full or unwritable disk.

    Attributes:
        errno: error number of the system.
    """

    kind: Literal["disk_error"] = "disk_error"
    errno: int

    def to_error(self) -> OSError:
        """Return the error that ends the study."""
        return OSError(self.errno, f"{self.error_summary}; finished runs are kept")


Outcome = Annotated[
    Done | Failed | Died | Locked | Corrupted | DiskError, Field(discriminator="kind")
]

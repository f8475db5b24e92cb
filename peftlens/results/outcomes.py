"""Outcomes of a study's jobs: messages from workers to the supervisor."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A message between processes: JSON on the way, unchangeable, without unknown keys."""

    # TOML has inf and nan, and so may the options of a probe
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Done(Message):
    """The job is finished.

    Attributes:
        result: return value of the worker's action; the request's kind decides its type.
    """

    kind: Literal["done"] = "done"
    result: Any = None


class Problem(Message):
    """Base of all outcomes without a result.

    Attributes:
        error_summary: the reason, in one line.
    """

    error_summary: str


class Failed(Problem):
    """The action raised an error.

    Attributes:
        error: type and text of the error.
        traceback: as Python prints it.
        is_input_error: whether the user can correct it.
    """

    kind: Literal["failed"] = "failed"
    error: str
    traceback: str
    is_input_error: bool


class Died(Problem):
    """The worker process ended before the job.

    Attributes:
        log: the end of its output during the job.
        activity: the last activity that it announced: the probe, where it measured.
        is_retryable: whether the same job may succeed in a new worker.
    """

    kind: Literal["died"] = "died"
    log: str
    activity: str | None = None
    is_retryable: bool


class Locked(Problem):
    """Another process is building the run."""

    kind: Literal["locked"] = "locked"


class Corrupted(Problem):
    """A file of the run differs from the one that was written."""

    kind: Literal["corrupted"] = "corrupted"


class DiskError(Problem):
    """The disk is full, or may not be written to.

    Attributes:
        errno: number of the system's error.
    """

    kind: Literal["disk_error"] = "disk_error"
    errno: int


Outcome = Annotated[
    Done | Failed | Died | Locked | Corrupted | DiskError, Field(discriminator="kind")
]

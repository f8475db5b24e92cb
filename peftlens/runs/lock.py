"""Lock of a run: a file that the kernel locks while one process builds the run.

The kernel releases the locks of dead processes, so no lock outlives its owner. The file names the
owner for readers. On Windows nobody can read a locked file, so another file beside it is locked.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError

from peftlens.errors import InputError

LOCK_PREFIX = ".claim-"
BARE_LOCK_PREFIX = ".lock-"  # of files without content, deleted with the release


class RunLockedError(InputError):
    """Error of a run that another process is building."""


@dataclass(frozen=True)
class LockOwner:
    """Process that holds the lock of a run.

    Attributes:
        pid: id of the process.
        host: name of its machine.
        since: time of locking, in seconds since 1970.
    """

    pid: Annotated[int, Field(gt=0, lt=2**31)]
    host: str
    since: float

    @property
    def alive(self) -> bool:
        """Whether the process still runs; processes of other machines count as running."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            started, status = process.create_time(), process.status()
        except psutil.NoSuchProcess:
            return False
        is_reused_pid = started > self.since
        return status != psutil.STATUS_ZOMBIE and not is_reused_pid


_OWNER = TypeAdapter(LockOwner)


@contextmanager
def lock_run(runs: Path, run: str) -> Iterator[None]:
    """Lock a run for the duration of the block; the kernel releases locks of dead processes.

    Raises:
        RunLockedError: another process holds the lock.
    """
    file = runs / f"{LOCK_PREFIX}{run}"
    runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_locked_file(runs, run))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunLockedError(f"run {run} is being built by another process") from error
    try:
        owner = LockOwner(os.getpid(), socket.gethostname(), time.time())
        file.write_text(json.dumps(vars(owner)), encoding="utf-8")
        yield
    finally:
        # before the release, after which it could be another process's file
        with suppress(PermissionError):  # a reader on Windows has it open; it names a past owner
            file.unlink(missing_ok=True)
        lock.release()


def _locked_file(runs: Path, run: str) -> Path:
    """Return the file that the kernel locks: the owner's file, or on Windows one beside it."""
    return runs / f"{BARE_LOCK_PREFIX if sys.platform == 'win32' else LOCK_PREFIX}{run}"


def lock_owners(runs: Path) -> dict[str, LockOwner]:
    """Return the living lock owners, by run id; read from their files without locking."""
    owners = {}
    for file in runs.glob(f"{LOCK_PREFIX}*"):
        if not file.is_file():
            continue
        with suppress(OSError, ValidationError):  # just released, or just taken
            owner = _OWNER.validate_json(file.read_bytes())
            owners[file.name.removeprefix(LOCK_PREFIX)] = owner
    return {run: owner for run, owner in owners.items() if owner.alive}

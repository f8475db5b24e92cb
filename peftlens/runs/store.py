"""Folder of runs, shared by several processes, any of which may die at any moment.

runs/<run_id>/              finished run; a run folder that exists is complete and never changes
     .tmp-<run_id>-*/       run under construction, or leftover of a dead process
     .claim-<run_id>        lock file, locked by the kernel while its process builds the run
quarantine/<run_id>-<n>/    damaged runs

The folders themselves are the only index of runs. Readers take no lock.
"""

import errno
import itertools
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from peftlens.errors import InputError
from peftlens.io.files import TEMPORARY_PREFIX, new_folder, sha256_file
from peftlens.runs.run import CorruptedRunError, Run

# Errors of the disk that would fail all later runs too.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_CLAIM = ".claim-"
_ABANDONED = 3600  # seconds; no single file takes that long to write


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

    pid: int
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


@contextmanager
def lock_run(runs: Path, run: str) -> Iterator[None]:
    """Lock a run for the duration of the block; the kernel releases locks of dead processes.

    Raises:
        RunLockedError: another process holds the lock.
    """
    file = runs / f"{_CLAIM}{run}"
    runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunLockedError(f"run {run} is being built by another process") from error
    try:
        owner = LockOwner(os.getpid(), socket.gethostname(), time.time())
        file.write_text(json.dumps(vars(owner)))
        yield
    finally:
        file.unlink(
            missing_ok=True
        )  # before the release, after which it could be another process's file
        lock.release()


@contextmanager
def building(runs: Path, run: str) -> Iterator[Path | None]:
    """Open a temporary folder that becomes the run's folder; None if the run exists.

    Raises:
        RunLockedError: another process is building the run.
    """
    target = runs / run
    if target.exists():
        yield None
        return
    with lock_run(runs, run):
        if target.exists():  # finished between the first check and the lock
            yield None
            return
        with new_folder(target) as folder:
            yield folder


def build(runs: Path, run: str, fill: Callable[[Path], None]) -> Path:
    """Build a run in a temporary folder and rename it; return the folder of the run.

    A run that exists is left unchanged.

    Raises:
        RunLockedError: another process is building the run.
    """
    with building(runs, run) as folder:
        if folder is not None:
            fill(folder)
    return runs / run


def seal(folder: Path) -> None:
    """Write digests.json, the last file of a run, with the SHA-256 of all other files."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    digests = {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}
    (folder / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


def lock_owners(runs: Path) -> dict[str, LockOwner]:
    """Return the living lock owners, by run id; read from their files without locking."""
    owners = {}
    for file in runs.glob(f"{_CLAIM}*"):
        with suppress(OSError, ValueError, TypeError):  # just released, or just taken
            owners[file.name.removeprefix(_CLAIM)] = LockOwner(**json.loads(file.read_text()))
    return {run: owner for run, owner in owners.items() if owner.alive}


def sweep(runs: Path) -> int:
    """Delete unfinished files and folders of dead processes; return their number."""
    deleted = 0
    for file in runs.glob(f"{_CLAIM}*"):
        with suppress(RunLockedError), lock_run(runs, file.name.removeprefix(_CLAIM)):
            pass  # releasing an unowned lock deletes its file
    for folder in runs.glob(f"{TEMPORARY_PREFIX}*"):
        run = folder.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0]
        with suppress(RunLockedError), lock_run(runs, run):
            shutil.rmtree(folder, ignore_errors=True)
            deleted += 1
    for file in (*runs.glob(f"*/probes/{TEMPORARY_PREFIX}*"), *_temporary_files(runs)):
        with suppress(FileNotFoundError):  # finished in the meantime
            if time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()
                deleted += 1
    return deleted


def _temporary_files(runs: Path) -> Iterator[Path]:
    """Yield temporary files in the study's other folders."""
    for folder in (runs.parent, *(runs.parent / name for name in ("tables", "failed", "calls"))):
        yield from (file for file in folder.glob(f"{TEMPORARY_PREFIX}*") if file.is_file())


def damage(run: Run, *, weights: bool = False) -> str | None:
    """Compare a run's files with their digests; return the reason of damage, if any.

    Args:
        run: run to check.
        weights: whether to compare weights too. Without it weights only have to exist and are
            compared when they are loaded, as the weights of many runs take minutes to read.
    """
    try:
        run.verify(name for name in run.digests if weights or not name.endswith(".safetensors"))
    except CorruptedRunError as error:
        return str(error)
    for name in ("run.json", *run.digests):
        if not (run.path / name).is_file():
            return f"{run.path / name} is missing"
    return None


def finished(runs: Path, candidates: Iterable[str]) -> tuple[set[str], dict[str, str]]:
    """Return the ids of undamaged finished runs, and the reasons of damage to the others by id."""
    present = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    reasons = {run: damage(Run(runs / run)) for run in candidates if run in present}
    damaged = {run: reason for run, reason in reasons.items() if reason}
    return reasons.keys() - damaged.keys(), damaged


def quarantine(runs: Path, run: str) -> Path | None:
    """Move a damaged run to the quarantine folder.

    Returns:
        New folder of the run; None if the run is undamaged or no longer exists.

    Raises:
        RunLockedError: another process is building the run.
    """
    with lock_run(runs, run):
        if not (runs / run).exists() or not damage(Run(runs / run), weights=True):
            return None
        folder = runs.parent / "quarantine"
        folder.mkdir(exist_ok=True)
        targets = (folder / f"{run}-{n}" for n in itertools.count())
        return (runs / run).rename(next(target for target in targets if not target.exists()))

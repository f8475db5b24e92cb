"""A folder of runs that several processes work on at once, any of which may die at any moment.

runs/<run_id>/              finished and never changed: to be there is to be complete
     .tmp-<run_id>-*/       being built, or left by somebody who died
     .claim-<run_id>        locked, by the kernel, as long as its process lives and builds that run
quarantine/<run_id>-<n>/    damaged runs, put aside

Nothing else says which runs there are: the folders are the index. Who only reads takes no lock.
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

# What the disk says when nothing that follows would fare better.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_CLAIM = ".claim-"
_ABANDONED = 3600  # seconds; no single file takes that long to write


class RunLockedError(InputError):
    """Another process is building this run."""


@dataclass(frozen=True)
class LockOwner:
    """Who builds a run.

    Attributes:
        pid: the process.
        host: its machine.
        since: seconds since 1970.
    """

    pid: int
    host: str
    since: float

    @property
    def alive(self) -> bool:
        """Whether it still runs; of another machine's processes nobody knows, so they count."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.pid)
            born, status = process.create_time(), process.status()
        except psutil.NoSuchProcess:
            return False
        inherited_the_number = born > self.since
        return status != psutil.STATUS_ZOMBIE and not inherited_the_number


@contextmanager
def lock_run(runs: Path, run: str) -> Iterator[None]:
    """Keep a run to oneself while the block runs; a process that dies loses it at once.

    Raises:
        RunLockedError: another process has it.
    """
    file = runs / f"{_CLAIM}{run}"
    runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise RunLockedError(f"run {run} is being built by another process") from error
    try:
        holder = LockOwner(os.getpid(), socket.gethostname(), time.time())
        file.write_text(json.dumps(vars(holder)))
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is locked, or it could be another one's by now
        lock.release()


@contextmanager
def building(runs: Path, run: str) -> Iterator[Path | None]:
    """Give a folder to fill that becomes the run's in the end; None where it is there already.

    Raises:
        RunLockedError: another process builds it.
    """
    target = runs / run
    if target.exists():
        yield None
        return
    with lock_run(runs, run):
        if target.exists():  # finished between our look and our claim
            yield None
            return
        with new_folder(target) as folder:
            yield folder


def build(runs: Path, run: str, fill: Callable[[Path], None]) -> Path:
    """The run's folder: filled under a temporary name and renamed, unless it is there already.

    Raises:
        RunLockedError: another process builds it.
    """
    with building(runs, run) as folder:
        if folder is not None:
            fill(folder)
    return runs / run


def seal(folder: Path) -> None:
    """Write digests.json, the last file of a run: what every other one holds."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    digests = {file.relative_to(folder).as_posix(): sha256_file(file) for file in files}
    (folder / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


def lock_owners(runs: Path) -> dict[str, LockOwner]:
    """Who builds what, by run; told by what living processes have written, without any lock."""
    found = {}
    for file in runs.glob(f"{_CLAIM}*"):
        with suppress(OSError, ValueError, TypeError):  # just released, or just taken
            found[file.name.removeprefix(_CLAIM)] = LockOwner(**json.loads(file.read_text()))
    return {run: holder for run, holder in found.items() if holder.alive}


def sweep(runs: Path) -> int:
    """Delete what dead processes left unfinished; returns how many folders and files."""
    swept = 0
    for left in runs.glob(f"{_CLAIM}*"):
        with suppress(RunLockedError), lock_run(runs, left.name.removeprefix(_CLAIM)):
            pass  # it was nobody's, and is gone
    for left in runs.glob(f"{TEMPORARY_PREFIX}*"):
        run = left.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0]
        with suppress(RunLockedError), lock_run(runs, run):
            shutil.rmtree(left, ignore_errors=True)
            swept += 1
    for left in (*runs.glob(f"*/probes/{TEMPORARY_PREFIX}*"), *_beside(runs)):
        with suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
                swept += 1
    return swept


def _beside(runs: Path) -> Iterator[Path]:
    for folder in (runs.parent, *(runs.parent / name for name in ("tables", "failed", "calls"))):
        yield from (left for left in folder.glob(f"{TEMPORARY_PREFIX}*") if left.is_file())


def damage(run: Run, *, weights: bool = False) -> str | None:
    """What is wrong with a run's files, if anything.

    Args:
        run: whose files are compared with their digests.
        weights: all of them; otherwise weights have to be there and are compared when they are
            read, for a folder of runs may hold more than can be read in minutes.
    """
    try:
        run.verify(name for name in run.digests if weights or not name.endswith(".safetensors"))
    except CorruptedRunError as error:
        return str(error)
    for name in ("run.json", *run.digests):
        if not (run.path / name).is_file():
            return f"{run.path / name} is gone"
    return None


def finished(runs: Path, among: Iterable[str]) -> tuple[set[str], dict[str, str]]:
    """The runs that are there and whole, and what is wrong with each that is there and is not."""
    there = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    found = {run: damage(Run(runs / run)) for run in among if run in there}
    damaged = {run: reason for run, reason in found.items() if reason}
    return found.keys() - damaged.keys(), damaged


def quarantine(runs: Path, run: str) -> Path | None:
    """Put a damaged run aside; returns where it is now, or None where it is whole or gone by now.

    Raises:
        RunLockedError: another process is at it.
    """
    with lock_run(runs, run):
        if not (runs / run).exists() or not damage(Run(runs / run), weights=True):
            return None
        aside = runs.parent / "quarantine"
        aside.mkdir(exist_ok=True)
        places = (aside / f"{run}-{n}" for n in itertools.count())
        return (runs / run).rename(next(place for place in places if not place.exists()))

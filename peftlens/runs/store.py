"""Folder of runs, shared by several processes, any of which may die at any moment.

runs/<run_id>/              finished run; a run folder that exists is complete and never changes
     .tmp-<run_id>-*/       run under construction, or leftover of a dead process
     .claim-<run_id>        lock file, see lock.py (on Windows with .lock-<run_id>)
     .paused-<run_id>-*/    run that is paused in training, see paused.py
quarantine/<run_id>-<n>/    damaged runs

The folders themselves are the only index of runs. Readers take no lock.
"""

import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from peftlens.errors import InputError
from peftlens.io.files import TEMPORARY_PREFIX, new_folder
from peftlens.runs import digests
from peftlens.runs.digests import DIGESTS
from peftlens.runs.lock import LOCK_PREFIX, RunLockedError, lock_run
from peftlens.runs.paused import delete_paused, paused_runs
from peftlens.runs.run import TIMING, Run, is_id

# Errors of the disk that would fail all later runs too.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_ABANDONED = 3600  # seconds; no single file takes that long to write


@contextmanager
def building(runs: Path, run: str) -> Iterator[Path | None]:
    """Open a temporary folder that becomes the run's folder; None if the run exists.

    Once the run is there, its pauses are deleted.

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
        if target.exists():
            delete_paused(runs, run)


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


def seal(folder: Path, run: str | None = None, known: Mapping[str, str] | None = None) -> None:
    """Write digests.json, the last file of a run; see `digests.write`."""
    digests.write(folder, run, known)


def sweep(runs: Path) -> int:
    """Delete unfinished files and folders of dead processes; return their number."""
    deleted = 0
    for file in runs.glob(f"{LOCK_PREFIX}*"):
        with suppress(RunLockedError), lock_run(runs, file.name.removeprefix(LOCK_PREFIX)):
            pass  # releasing an unowned lock deletes its file
    for folder in runs.glob(f"{TEMPORARY_PREFIX}*"):
        run = folder.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0]
        with suppress(RunLockedError), lock_run(runs, run):
            shutil.rmtree(folder, ignore_errors=True)
            deleted += 1
    for paused in paused_runs(runs):
        if (runs / paused.id).exists():  # its process died before it deleted the pause
            with suppress(RunLockedError), lock_run(runs, paused.id):
                deleted += delete_paused(runs, paused.id)
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
    """Compare a run with its id and its files with their digests; return the reason of damage.

    Args:
        run: run to check.
        weights: whether to compare weights too. Without it weights only have to exist and are
            compared when they are loaded, as the weights of many runs take minutes to read.
    """
    try:
        run.verify(name for name in run.digests if weights or not name.endswith(".safetensors"))
        if is_id(run.path.name):
            _ = run.record
        if run.sealed is None:  # nothing else shows whether these can be read
            _ = run.metrics(), run.timing()
    except InputError as error:
        return str(error)
    for name in ("run.json", *run.digests):
        if not (run.path / name).is_file():
            return f"{run.path / name} is missing"
    return None


def unchecked(run: Run) -> str | None:
    """Return why a run's files can't all be compared with digests, or None if they can."""
    if run.sealed is None:
        rest = " but for those that run.json lists" if run.record.files else ""
        return f"{run.path} has no {DIGESTS}: its files can't be compared with the training's{rest}"
    return None


def strays(run: Run) -> list[Path]:
    """List the entries of a run's folder that peftlens did not write, which are ignored."""
    known = {DIGESTS, "run.json", TIMING, "probes", "checkpoints", *run.digests}
    known |= {parent.as_posix() for path in known for parent in Path(path).parents}
    folders = [run.path / name for name in sorted(known) if (run.path / name).is_dir()]
    entries = [entry for folder in folders for entry in folder.iterdir()]
    return sorted(entry for entry in entries if _is_stray(entry, run, known))


def _is_stray(entry: Path, run: Run, known: Collection[str]) -> bool:
    if entry.name.startswith("."):
        return not entry.name.startswith(TEMPORARY_PREFIX)
    if entry.parent == run.table_folder:
        return entry.suffix != ".parquet"
    if not run.digests:  # of such a run only the form of the names is known
        return entry.parent.name == "checkpoints" and not entry.name.isdecimal()
    return entry.relative_to(run.path).as_posix() not in known


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

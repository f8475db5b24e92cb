"""Paused run: all that the rest of its training depends on, in a folder that is no run.

runs/.paused-<run_id>-<step>/pause.json            step, and scores on the validation split so far
                             training_state.*      see training/pause.py
                             metrics.jsonl, timing.jsonl, checkpoints/   as in a run's folder
                             digests.json          the run's id, and SHA-256 of all these files

It is there until the run is finished. No weights are loaded here.
"""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftlens.errors import validation_summary
from peftlens.io.files import TEMPORARY_PREFIX, rename_folder, sha256_file
from peftlens.io.progress import say
from peftlens.runs import digests
from peftlens.runs.digests import DIGESTS

PAUSED_PREFIX = ".paused-"
PAUSE = "pause.json"


class Pause(BaseModel):
    """Contents of pause.json.

    Attributes:
        run: id of the run.
        step: number of steps taken.
        scores: scores on the validation split after each step at which the run was paused; empty
            where its loss was not finite.
        seconds: time of the steps taken, s.
        peak_memory_bytes: peak above the loaded base; None where it can't be measured.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    step: int = 0
    scores: dict[int, dict[str, float]] = Field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int | None = None

    def after(self, seconds: float, peak: int | None) -> "Pause":
        """Add further seconds of training, and the peak of memory in them."""
        peaks = [one for one in (self.peak_memory_bytes, peak) if one is not None]
        update = {"seconds": self.seconds + seconds, "peak_memory_bytes": max(peaks, default=None)}
        return self.model_copy(update=update)

    def at(self, step: int, scores: dict[str, float]) -> "Pause":
        """Move to a later step with its scores."""
        return self.model_copy(update={"step": step, "scores": self.scores | {step: scores}})


@dataclass(frozen=True)
class PausedRun:
    """Folder of a paused run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def id(self) -> str:
        """Id of the run."""
        return self.path.name.removeprefix(PAUSED_PREFIX).rpartition("-")[0]

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return int(self.path.name.rpartition("-")[2])

    @cached_property
    def contents(self) -> Pause:
        """Contents of pause.json."""
        return Pause.model_validate_json((self.path / PAUSE).read_bytes())

    @property
    def scores(self) -> dict[str, float]:
        """Scores on the validation split at the pause; empty where the loss was not finite."""
        return self.contents.scores[self.step]


def paused_run(runs: Path, run: str, step: int) -> PausedRun:
    """Return the place of a run that is paused after a step."""
    return PausedRun(runs / f"{PAUSED_PREFIX}{run}-{step}")


def paused_runs(runs: Path, run: str = "*") -> list[PausedRun]:
    """List the pauses of a run, or of all runs, by step."""
    folders = runs.glob(f"{PAUSED_PREFIX}{run}-*")
    found = [PausedRun(folder) for folder in folders if folder.name.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda paused: (paused.step, paused.path))


def latest(runs: Path, run: str, last: int) -> PausedRun | None:
    """Return the latest pause of a run at or before a step; damaged ones are reported and deleted.

    The run must be locked.
    """
    for paused in reversed(paused_runs(runs, run)):
        if paused.step > last:
            continue
        if (reason := damage(paused, run)) is None:
            return paused
        say(f"{reason}: what was trained up to this pause is deleted and trained again")
        _delete(paused)
    return None


def damage(paused: PausedRun, run: str) -> str | None:
    """Compare the files of a pause with their digests; return the reason of damage."""
    try:
        sealed = digests.read(paused.path / DIGESTS)
        for name, digest in sealed.files.items():
            if sha256_file(paused.path / name) != digest:
                return f"{paused.path / name} has changed since the run was paused"
        contents = paused.contents
    except OSError as error:
        return f"{error.filename} can't be read ({error.strerror})"
    except ValidationError as error:
        return f"{paused.path} is damaged ({validation_summary(error)})"
    if {sealed.run, contents.run} != {run} or contents.step != paused.step:
        return f"{paused.path} holds another pause, that of run {contents.run} at {contents.step}"
    return None


def pause(contents: Pause, folder: Path) -> None:
    """Complete the folder of a paused run with pause.json and digests.json."""
    (folder / PAUSE).write_text(contents.model_dump_json(indent=2) + "\n", encoding="utf-8")
    digests.write(folder, contents.run)


def keep_paused(folder: Path, runs: Path, run: str, step: int) -> PausedRun:
    """Move a completed folder to its place, and delete earlier pauses of the run.

    The run must be locked.
    """
    paused = paused_run(runs, run, step)
    rename_folder(folder, paused.path)
    for one in paused_runs(runs, run):
        if one.step < step:
            _delete(one)
    return paused


def delete_paused(runs: Path, run: str) -> int:
    """Delete all pauses of a run, which must be locked; return their number."""
    found = paused_runs(runs, run)
    for paused in found:
        _delete(paused)
    return len(found)


def _delete(paused: PausedRun) -> None:
    """Delete a pause, such that no half of it is left in its place."""
    run = paused.path.name.removeprefix(PAUSED_PREFIX)
    doomed = paused.path.with_name(f"{TEMPORARY_PREFIX}{run}")
    shutil.rmtree(doomed, ignore_errors=True)  # of a process that died here
    shutil.rmtree(paused.path.rename(doomed))

"""Trackio: runs in its local store, which its own `trackio sync` uploads."""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.export.experiment_run import ExperimentRun, Exported, tracker

_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
_RUN = "peftlens_run"  # key of the configuration


def export(
    runs: Sequence[ExperimentRun], place: Path | None = None, project: str | None = None
) -> Exported:
    """Write the runs; those of an earlier export are replaced.

    Args:
        runs: runs to write.
        place: folder of Trackio's files; by default TRACKIO_DIR or Trackio's own.
        project: name of the project; the study's by default.

    Raises:
        InputError: trackio is not installed, would write elsewhere, or refuses the project's name.
    """
    if set_elsewhere := [name for name in _ELSEWHERE if os.environ.get(name)]:
        raise InputError(
            f"{set_elsewhere[0]} is set, and the export is local; unset it, and run `trackio sync` "
            "afterwards"
        )
    if place:
        os.environ["TRACKIO_DIR"] = str(place.absolute())  # read when trackio is imported
    trackio = tracker("trackio", "trackio")
    for run in runs:
        name = project or run.study
        try:
            with redirect_stdout(sys.stderr):  # for its remarks; the result alone is printed
                _delete(trackio, name, run)
                _write(trackio, name, run)
        except ValueError as error:
            line = " ".join(str(error).split())
            raise InputError(f"Trackio refuses project {name!r}: {line}; give --project") from error
    shown = os.environ.get("TRACKIO_DIR")
    command = f"TRACKIO_DIR={shown} trackio show" if shown else "trackio show"
    return Exported(
        place=shown or "Trackio's folder", written=len(runs), hint=f"{command} shows them"
    )


def _delete(trackio: Any, project: str, run: ExperimentRun) -> None:
    """Delete the run of an earlier export."""
    try:
        found = [*trackio.Api().runs(project)]
    except ValueError:  # there is no such project
        return
    for one in found:
        if (one.config or {}).get(_RUN) == run.id:
            one.delete()


def _write(trackio: Any, project: str, run: ExperimentRun) -> None:
    trackio.init(
        project=project,
        name=run.name,
        group=run.group,
        config={**run.hyperparameters, _RUN: run.id},
        embed=False,
        auto_log_cpu=False,
        auto_log_gpu=False,
    )
    for step, values in run.history.items():
        trackio.log(dict(values), step=step)
    results = {f"results/{name}": value for name, value in run.results.items()}
    trackio.log(results, step=run.last_step)
    trackio.finish()

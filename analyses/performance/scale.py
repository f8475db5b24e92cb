"""Growth up to 10,000 runs, 262,144 tokens and a base of 7 B: time, memory, disk, and limits.

python analyses/performance/scale.py                     # half an hour on two idle cores
python analyses/performance/scale.py study vocabulary    # some parts; rows of the others stay

Each stage is measured at growing sizes while the next is expected to take less than two minutes,
and extrapolated beyond: seconds by a power of the size, memory and disk on a line, of the last
two. Seconds are processor time, except where several processes work together, and in a step.
`check` is the forecast of the largest measured size by the smaller ones, as a share of the
measured seconds. Something breaks that takes an hour, or more memory, disk or files than are here.
"""

import csv
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import scale_model
import scale_study
import scale_vocabulary
import study_overhead
from measurements import FOLDER, write

SECONDS, HOUR = 120.0, 3600.0
RUNS, TOKENS = 10_000, 262_144
COLUMNS = ("part", "what", "size", "seconds", "memory_bytes", "disk_bytes", "how", "exponent",
           "check", "breaks_first")  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A stage at one size.

    Attributes:
        size: number of runs or tokens.
        seconds: time.
        memory_bytes: highest memory of the process.
        disk_bytes: what is on the disk afterwards, in blocks; None if nothing of interest is.
    """

    size: int
    seconds: float
    memory_bytes: float
    disk_bytes: float | None = None


def exponent(points: Sequence[Point]) -> float:
    """Fit seconds ~ size ** exponent to the last two points; 1 at least.

    Where a constant still counts, seconds seem to grow more slowly than they will.
    """
    before, last = points[-2:]
    growth = math.log(last.seconds / before.seconds) / math.log(last.size / before.size)
    return max(1.0, growth)


def forecast(points: Sequence[Point], size: int) -> Point:
    """Extrapolate the last point to a size."""
    before, last = points[-2:]
    share = (size - last.size) / (last.size - before.size)

    def line(name: str) -> float | None:
        start, end = getattr(before, name), getattr(last, name)
        return None if start is None else end + share * (end - start)

    seconds = last.seconds * (size / last.size) ** exponent(points)
    return Point(size, seconds, line("memory_bytes") or 0.0, line("disk_bytes"))


def grow(measure: Callable[[int], Point], sizes: Sequence[int]) -> list[Point]:
    """Measure sizes in turn, up to the first that is expected to take too long."""
    points: list[Point] = []
    for size in sizes:
        if len(points) > 1 and forecast(points, size).seconds > SECONDS:
            break
        points.append(measure(size))
        print(points[-1], flush=True)
    return points


def breaks_first(points: Sequence[Point]) -> str:
    """Return what reaches its limit at the smallest size, and that size."""
    limits = {
        "time: an hour": lambda point: point.seconds > HOUR,
        "memory": lambda point: point.memory_bytes > psutil.virtual_memory().total,
        "disk": lambda point: (point.disk_bytes or 0) > shutil.disk_usage(FOLDER).free,
    }
    for doublings in range(1, 41):
        size = points[-1].size * 2**doublings
        for name, reached in limits.items():
            if reached(forecast(points, size)):
                return f"{name}, below {float(f'{size:.1g}'):,.0f}"
    return "nothing"


def stage(part: str, what: str, points: Sequence[Point], target: int) -> list[dict[str, Any]]:
    """Make the rows of a stage: what was measured, and the target if that is beyond."""
    how = "simulated" if part == "study" else "measured"
    rows = [_row(part, what, point, how) for point in points]
    if len(points) > 2:
        share = forecast(points[:-1], points[-1].size).seconds / points[-1].seconds
        rows[-1]["check"] = f"{share:.2f}"
    if points[-1].size < target:
        rows.append(_row(part, what, forecast(points, target), "extrapolated"))
    rows[-1] |= {"exponent": round(exponent(points), 2), "breaks_first": breaks_first(points)}
    return rows


def _row(part: str, what: str, point: Point, how: str) -> dict[str, Any]:
    return {
        "part": part, "what": what, "size": point.size, "seconds": float(f"{point.seconds:.3g}"),
        "memory_bytes": int(round(point.memory_bytes, -6)) or "",
        "disk_bytes": "" if point.disk_bytes is None else int(round(point.disk_bytes, -3)),
        "how": how,
    }  # fmt: skip


def _in_process(script: Any, name: str, size: int, folder: Path) -> Point:
    """Carry out a stage of one of the two scripts in a new process."""
    call = [sys.executable, script.__file__, name, str(size), str(folder)]
    done = subprocess.run(call, check=True, capture_output=True, text=True, encoding="utf-8")
    seconds, memory = map(float, done.stdout.split()[-2:])
    return Point(size, seconds, memory)


def study(folder: Path) -> list[dict[str, Any]]:
    """Measure the stages of studies, of runs that nobody trained."""

    def supervised(size: int) -> Point:
        seconds, own, _ = study_overhead.carried_out(size, folder / f"supervised-{size}")
        return Point(size, seconds, 1e6 * own)

    rows = []
    for what in ("jobs dispatched to two workers", "finished study resumed"):  # the same call again
        rows += stage("study", what, grow(supervised, (100, 1000, 10_000)), RUNS)
    sizes = (100, 400, 1600, 10_000)
    planned = grow(lambda size: _in_process(scale_study, "planning", size, folder), sizes)
    rows += stage("study", "planning", planned, RUNS)
    built = grow(lambda size: _built_study(folder, size), sizes)
    rows += stage("study", f"runs written, {_files(folder, built)} files a run", built, RUNS)
    for name in (name for name in scale_study.STAGES if name != "planning"):
        points = grow(
            lambda size, name=name: _in_process(scale_study, name, size, folder / str(size)),
            [point.size for point in built],
        )
        rows += stage("study", name, points, RUNS)
    return rows


def _built_study(folder: Path, size: int) -> Point:
    seconds = scale_study.seconds(lambda: scale_study.build(size, folder / str(size)))
    return Point(size, seconds, 0, scale_study.disk(folder / str(size))[1])


def _files(folder: Path, built: Sequence[Point]) -> float:
    counts = [scale_study.disk(folder / str(point.size))[0] for point in built[-2:]]
    return round((counts[1] - counts[0]) / (built[-1].size - built[-2].size), 1)


def vocabulary(folder: Path) -> list[dict[str, Any]]:
    """Measure the stages of vocabularies, of made-up words."""
    rows = []
    for name in scale_vocabulary.STAGES:

        def measure(size: int, name: str = name) -> Point:
            place = folder / f"tokens-{size}"
            if not place.exists():
                scale_vocabulary.build(size, place)
            return _in_process(scale_vocabulary, name, size, place)

        sizes = (4096, 8192, 16_384, 32_768, 65_536, 131_072, TOKENS)
        rows += stage("vocabulary", name, grow(measure, sizes), TOKENS)
    return rows


def model(_: Path) -> list[dict[str, Any]]:
    """Count the steps of a base of 7 B; what needs more memory than is here breaks."""
    here = psutil.virtual_memory().total
    rows = []
    for row in scale_model.rows():
        needed = row["memory_bytes"]
        room = f"memory: {needed / 1e9:.0f} of {here / 1e9:.0f} GB" if needed > here else "nothing"
        rows.append({"part": "model", "breaks_first": room, **row})
    return rows


PARTS: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
    "study": study,
    "vocabulary": vocabulary,
    "model": model,
}


def main() -> None:
    """Write reports/performance/scale.csv."""
    chosen, file = sys.argv[1:] or [*PARTS], FOLDER / "scale.csv"
    before: list[dict[str, Any]] = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as source:
            before = [row for row in csv.DictReader(source) if row["part"] not in chosen]
    rows = []
    for part, measure in PARTS.items():
        rows += [row for row in before if row["part"] == part]
        if part in chosen:
            with tempfile.TemporaryDirectory() as folder:
                rows += measure(Path(folder))
    write(__file__, [{column: row.get(column, "") for column in COLUMNS} for row in rows])


if __name__ == "__main__":
    main()

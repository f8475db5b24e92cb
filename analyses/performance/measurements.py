"""Measurements of peftlens: timing, and tables in reports/performance."""

import csv
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "performance"


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way gives, round after round, so that a slow minute falls on all of them."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, call in ways.items():
            found[way].append(call())
    return found


def machine() -> str:
    """The processor, its cores and the threads that torch uses."""
    text = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    )
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    name = names[0] if names else platform.processor()
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()} beside {name}"
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


def write(script: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep a table, with the machine in each row, under the script's name; `_gpu` behind it on one.

    Args:
        script: its `__file__`.
        rows: numbers rounded to what they mean.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    stem = Path(script).stem + ("_gpu" if torch.cuda.is_available() else "")
    file = FOLDER / f"{stem}.csv"
    where = machine()
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, [*rows[0], "machine"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "machine": where} for row in rows)
    print(file.read_text(encoding="utf-8"))

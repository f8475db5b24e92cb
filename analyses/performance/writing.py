"""Where measurements of peftlens itself are kept: reports/performance, a CSV for each script."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "performance"


def machine() -> str:
    """The processor, its cores and the threads that torch uses."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    name = names[0] if names else platform.processor()
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


def write(script: Path, rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Keep a table, with the machine in each row, under the script's name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{script.stem}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "machine"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "machine": where} for row in rows)
    print(f"{FOLDER.relative_to(ROOT)}/{script.stem}.csv")

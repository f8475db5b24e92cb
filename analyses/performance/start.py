"""Processor time of commands that need no model.

python analyses/performance/start.py

Five times each, by the system's count of the child's user and system time; medians.
"""

import os
import statistics
import subprocess

from measurements import write

COMMANDS = (("--help",), ("methods",), ("probes",), ("study", "--help"))


def processor_seconds(arguments: tuple[str, ...]) -> float:
    """Of one call."""
    before = os.times()
    subprocess.run(["peftlens", *arguments], check=True, capture_output=True)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def main() -> None:
    """Write reports/performance/start.csv."""
    rows = [
        {"command": " ".join(("peftlens", *arguments)),
         "processor_seconds": round(
             statistics.median(processor_seconds(arguments) for _ in range(5)), 2)}
        for arguments in COMMANDS
    ]  # fmt: skip
    write(__file__, rows)


if __name__ == "__main__":
    main()

"""A training step with and without compiled blocks: time saved, and time for compilation.

python analyses/performance/compiled.py

LoRA of rank 8 on SmolLM2-135M, 16 headlines or passages a step, the number of steps in the table.
Each way runs in a new process; the second one with compiled blocks finds on disk what the first has
compiled. The share of the floor is that of `steps`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from lora_steps import lora_steps
from measurements import seconds, write
from steps import rate

ROUNDS = 3
CASES = (("bbc_topic", "bfloat16", 20), ("bbc_topic", "float32", 10),
         ("boolq", "bfloat16", 3), ("boolq", "float32", 2))  # fmt: skip
WAYS = ("plain", "compiled, first time", "compiled, from disk")


def measured(task: str, dtype: str, steps: int, compiled: bool) -> dict[str, float]:
    """Measure the first pass over the batches, and the later ones, in this process."""
    with lora_steps(task, dtype, steps) as lora:
        if compiled:
            lora.compile()
        losses: list[float] = []
        first = seconds(lambda: losses.append(lora.steps()))
        later = statistics.median(seconds(lora.steps) for _ in range(ROUNDS))
        operations = lora.least_operations
    return {"first": first, "later": later, "loss": losses[0], "operations": operations}


def in_new_process(folder: str, *arguments: object) -> dict[str, float]:
    """Measure in a new process, whose compilations are in the folder."""
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder}
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Write reports/performance/compiled.csv."""
    import torch

    found = []
    for task, dtype, steps in CASES:
        with tempfile.TemporaryDirectory() as folder:
            by_way = {
                way: in_new_process(folder, task, dtype, steps, way != WAYS[0]) for way in WAYS
            }
        speed = rate(getattr(torch, dtype))
        for way, one in by_way.items():
            found.append(
                {"task": task, "dtype": dtype, "way": way, "steps": steps,
                 "seconds_before": round(one["first"] - one["later"], 1) if way != WAYS[0] else 0,
                 "seconds_a_step": round(one["later"] / steps, 3),
                 "ratio": round(by_way[WAYS[0]]["later"] / one["later"], 2),
                 "share_of_floor": round(one["operations"] / speed / one["later"], 3),
                 "loss": round(one["loss"], 3)}
            )  # fmt: skip
            print(found[-1], flush=True)
    write(__file__, found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        task, dtype, steps, compiled = sys.argv[1:]
        print(json.dumps(measured(task, dtype, int(steps), compiled == "True")))
    else:
        main()

"""Where the time of a training step goes: products, attention, small operations, optimizer, rest.

python analyses/performance/breakdown.py

LoRA of rank 8 on SmolLM2-135M, 16 headlines or passages a step, plain and with compiled blocks. The
times are those of torch.profiler, which itself takes some; `seconds_a_step` is without it. Products
are those of weights, of adapters, too; what their least work would take is the floor. Bookkeeping
is what is in none of the operations: views, autograd's graph and Python.
"""

import statistics
from collections import defaultdict
from typing import Any

import torch
from lora_steps import LoraSteps, lora_steps
from measurements import seconds, write
from steps import rate
from torch.profiler import ProfilerActivity, profile

CASES = (("bbc_topic", "bfloat16", 10), ("bbc_topic", "float32", 5), ("boolq", "bfloat16", 2))
PRODUCTS = {"mm", "addmm", "linear", "mkldnn_linear"}
ATTENTION = ("bmm", "baddbmm", "_softmax", "_scaled_dot_product", "_safe_softmax")
# These only describe memory that is there.
VIEWS = {"view", "reshape", "transpose", "t", "slice", "expand", "as_strided", "unsqueeze",
         "select", "detach", "alias", "_unsafe_view", "permute", "squeeze", "to", "_to_copy",
         "empty", "empty_like", "empty_strided", "resolve_conj", "resolve_neg",
         "matmul"}  # fmt: skip


def part_of(name: str) -> str:
    """Return the part of a step to which an event of the profiler belongs."""
    operation = name.removeprefix("aten::")
    if operation in PRODUCTS:
        return "products"
    if operation.startswith(ATTENTION):
        return "attention"
    if "CompiledFxGraph" in name:
        return "fused operations"
    if "adamw" in name.lower() or "clip_grad" in name or operation.startswith("_foreach"):
        return "optimizer"
    if name.startswith("aten::") and operation not in VIEWS:
        return "small operations"
    return "bookkeeping"


def shares(lora: LoraSteps) -> dict[str, float]:
    """Return each part's share of the profiled time of one pass over the batches."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        wall = seconds(lora.steps)
    parts = defaultdict[str, float](float)
    for event in recorded.key_averages():
        parts[part_of(event.key)] += event.self_cpu_time_total / 1e6
    parts["bookkeeping"] += max(0.0, wall - sum(parts.values()))
    total = sum(parts.values())
    return {part: time / total for part, time in sorted(parts.items(), key=lambda one: -one[1])}


def rows(task: str, dtype: str, steps: int) -> list[dict[str, Any]]:
    """Measure one case, plain and compiled."""
    found = []
    with lora_steps(task, dtype, steps) as lora:
        least = lora.least_operations / rate(getattr(torch, dtype)) / steps
        for way in ("plain", "compiled"):
            if way == "compiled":
                lora.compile()
            lora.steps()  # compiles
            step = statistics.median(seconds(lora.steps) for _ in range(3)) / steps
            same = {"task": task, "dtype": dtype, "way": way, "seconds_a_step": round(step, 3)}
            found += [
                same | {"part": part, "share": round(share, 3), "ms": round(1000 * share * step, 1)}
                for part, share in shares(lora).items()
            ]
            floor = {"part": "floor of the products", "share": round(least / step, 3)}
            found.append(same | floor | {"ms": round(1000 * least, 1)})
    return found


def main() -> None:
    """Write reports/performance/breakdown.csv."""
    write(__file__, [row for case in CASES for row in rows(*case)])


if __name__ == "__main__":
    main()

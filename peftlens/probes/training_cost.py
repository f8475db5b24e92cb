"""Cost of a training step by tokens per step: memory with the base in it, time, FLOPs and bytes.

Every row is a new process that loads the base, attaches the method and takes training steps on
random tokens: its memory is all that the configuration needs, and of a quantized base only the
quantized weights. Runs that differ only in seed or learning rate cost the same and are measured
once. Processes run one at a time in rounds over the configurations, and each round ends with a
second copy of its first configuration, the A/A control: ratios of two configurations are paired by
round, and decide nothing where the control differs from its original. FLOPs and bytes are exact.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.io.progress import track
from peftlens.results.table import Chart, Column
from peftlens.runs.configuration_names import sweeps
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # it takes minutes per configuration, and an otherwise idle machine
OF_CONFIGURATIONS = True

# a program of `training`, which probes do not import
_PROGRAM = "peftlens.training.step_cost"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        rows: numbers of rows per step.
        lengths: numbers of tokens per row, each with each number of rows.
        scored_tokens: number of tokens per row that the loss is of; more than the length for all.
            A head for whole texts has one label per row.
        rounds: number of rounds, with one process per configuration in each.
        steps: number of steps per process that are measured for memory, and again for time.
    """

    rows: tuple[int, ...] = (8,)
    lengths: tuple[int, ...] = (16, 64, 256, 512)
    scored_tokens: int = 1
    rounds: int = 3
    steps: int = 3


COLUMNS = (
    Column("configuration", "method and its hyperparameters, without the learning rate"),
    Column("method", "name of the method"),
    Column("control", "true for the second copy of the round's first configuration"),
    Column("round", "number of the round, from 1"),
    Column("rows", "number of rows per step", "1"),
    Column("length", "number of tokens per row, without a soft prompt's", "1"),
    Column("tokens", "number of tokens per step", "1"),
    Column("peak_memory_bytes", "peak of training above the process without a model; missing "
           "where the system does not report it", "bytes", "lower"),
    Column("loading_peak_memory_bytes", "the same of loading the base and attaching the method",
           "bytes", "lower"),
    Column("step_seconds", "time of a step, median over the process's steps", "s", "lower"),
    Column("flops", "operations of the matrix products of a step, forward and backward",
           "FLOPs", "lower"),
    Column("trainable_parameters", "number of parameters changed by the optimizer", "1", "lower"),
    Column("weight_bytes", "size of all weights, of base and method", "bytes", "lower"),
    Column("gradient_bytes", "size of the gradients that the optimizer reads", "bytes", "lower"),
    Column("optimizer_state_bytes", "memory of the optimizer: moments, and float32 copies of "
           "low-precision weights", "bytes", "lower"),
    Column("reason", "reason for a missing measurement"),
)  # fmt: skip
CHARTS = tuple(
    Chart("line", x="tokens", y=y, log_x=True, by="configuration", title=title)
    for y, title in (
        ("peak_memory_bytes", "Training memory, base included (band: range over processes)"),
        ("step_seconds", "Time of a training step (band: range over processes)"),
        ("flops", "FLOPs of a training step"),
    )
)


def compare(context: RunContext, runs: Mapping[TrainedModel, str], config: Config) -> pd.DataFrame:
    """Return one row per process; a configuration that can't be measured has one with the reason.

    Args:
        context: whether a base model's code may run.
        runs: runs, mapped to the names of their configurations; only those that train anything.
        config: options of the probe.
    """
    labels = sweeps(run.record for run in runs)
    chosen: dict[str, TrainedModel] = {}
    for run in runs:
        if run.is_reproducible and run.record.results.get("trainable_parameters"):
            chosen.setdefault(labels[run.id], run)
    points = [*product(config.rows, config.lengths)]
    order = [(name, False) for name in chosen] + [(name, True) for name in [*chosen][:1]]
    processes = [*product(points, range(1, config.rounds + 1), order)]
    rows: list[dict[str, Any]] = []
    failed: set[tuple[Any, ...]] = set()
    for (n_rows, length), number, (name, control) in track(processes, "Measuring training steps"):
        if (name, n_rows, length) in failed:
            continue
        run = chosen[name]
        request = {
            "config": run.config.model_dump(mode="json"),
            "rows": n_rows,
            "length": length,
            "scored_tokens": config.scored_tokens,
            "steps": config.steps,
            "head": run.record.depends_on.get("head"),
            "trust_remote_code": context.trust_remote_code,
        }
        cost = _in_new_process(request)
        if "reason" in cost:
            failed.add((name, n_rows, length))
        rows.append(
            {
                "configuration": name,
                "method": run.config.method,
                "control": control,
                "round": number,
                "rows": n_rows,
                "length": length,
                "tokens": n_rows * length,
            }
            | cost
        )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS]).astype(dict(_dtypes()))


def _dtypes() -> Iterator[tuple[str, str]]:
    """Yield the types of the columns that may have no value."""
    for column in COLUMNS:
        if column.better:
            yield column.name, "Float64" if column.unit == "s" else "Int64"
    yield "reason", "string"


def _in_new_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure a training step in a new process; return its costs, or the reason for their lack.

    Args:
        request: fields of a `StepRequest`.
    """
    ended = subprocess.run(
        [sys.executable, "-m", _PROGRAM],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if ended.returncode < 0:
        return {"reason": f"the process ended by signal {-ended.returncode}, as without memory"}
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        return {"reason": lines[-1] if lines else f"exit code {ended.returncode}"}
    return json.loads(ended.stdout)

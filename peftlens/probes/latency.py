"""Inference latency of the base model, with the adapter attached, and merged into the weights.

Forward passes of the models alternate in one process, so that all times of a round are under the
same load; ratios are paired by round. The base is timed twice in each round: the second time is the
A/A control, whose ratio is 1 unless the machine was disturbed. "Merged" is missing for methods that
cannot be merged. It is a second model, passed through in turn with the first: once a round beside
three times, an equal copy of a base of 23 million parameters took 1.02 to 1.07 times as long, as
less of it stayed in the processor's caches.
It also measures the time to swap the adapter in, with base and adapter already in memory.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from peftlens.adapters.merging import merged_weights
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.switching import AdapterSet
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel, in_float32, load_base_model
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.snapshot import restored_after
from peftlens.numerics.resampling import few_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 5
STATES = ("base", "control", "attached", "merged")
OPTIONAL = True  # times are meaningful only on an otherwise idle machine


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tokens: number of input tokens per row.
        rows: number of rows per batch.
        rounds: number of rounds, with one timed pass per state in each.
    """

    tokens: int = 64
    rows: int = 1
    rounds: int = 30


COLUMNS = (
    Column("state", "state of the model: base, control (the base again), attached or merged"),
    Column("seconds", "time of a forward pass, median over rounds", "s", "lower"),
    Column("ratio", "time over that of the base in the same round, geometric mean", "1", "lower"),
    Column("ci_low", "lower end of its 95 % interval over rounds (Student's t of logarithms)", "1"),
    Column("ci_high", "upper end of this interval", "1"),
    Column("swap_seconds", "time to swap this adapter in; for attached only",
           "s", "lower"),
    Column("tokens", "number of input tokens per row", "1"),
    Column("rows", "number of rows per batch", "1"),
    Column("n_rounds", "number of rounds"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="ratio",
        title="Time of a forward pass over the base's (bars: 95 % interval over rounds)",
        low="ci_low",
        high="ci_high",
        each="state",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row each for the base, its control, the attached and a mergeable merged model."""
    base = context.base_model(run)
    inputs = random_inputs(base.model, config.rows, config.tokens)
    merged = _merged(run, base)
    with restored_after(base.model):
        adapters = AdapterSet(base)
        adapters.add("run", run)
        swaps: list[float] = []
        states: dict[str, Callable[[], nn.Module]] = {
            "base": lambda: adapters.use(None),
            "control": lambda: adapters.use(None),
            "attached": lambda: _swapped(adapters, swaps),
        }
        if merged is not None:
            of_first = [*states.items()]
            states = {}
            for number, (name, state) in enumerate(of_first):
                states |= {name: state, f"merged{number or ''}": lambda: merged}
        seconds = _times(states, inputs, base, config.rounds)
        adapters.use(None)
    rows = []
    for state in (one for one in STATES if one in seconds):
        times = seconds[state]
        logs = np.log(times / seconds["base"])
        interval = few_interval(logs)
        rows.append(
            {
                "state": state,
                "seconds": np.median(times),
                "ratio": np.exp(logs.mean()),
                "ci_low": None if interval.low is None else np.exp(interval.low),
                "ci_high": None if interval.high is None else np.exp(interval.high),
                "swap_seconds": np.median(swaps) if state == "attached" else None,
                "tokens": config.tokens,
                "rows": config.rows,
                "n_rounds": config.rounds,
            }
        )
    floats = ("ci_low", "ci_high", "swap_seconds")
    return pd.DataFrame(rows).astype(dict.fromkeys(floats, "Float64"))


def _merged(run: TrainedModel, base: BaseModel) -> nn.Module | None:
    """Load a second model with the update merged into its weights, in their original dtype."""
    exact = in_float32(base)
    model: Any = None
    with suppress(InputError), restored_after(exact.model):
        state = merged_weights(run, exact)
        model = load_base_model(
            base.reference,
            device=base.device,  # pyright: ignore[reportArgumentType]
            dtype=base.dtype,  # pyright: ignore[reportArgumentType]
            trust_remote_code=base.trusted,
            head=base.head,
        ).model
        model.load_state_dict(state)
    return model


def _swapped(adapters: AdapterSet, swaps: list[float]) -> nn.Module:
    started = time.perf_counter()
    model = adapters.use("run")
    swaps.append(time.perf_counter() - started)
    return model


@torch.inference_mode()
def _times(
    states: dict[str, Callable[[], nn.Module]], inputs: dict[str, Any], base: BaseModel, rounds: int
) -> dict[str, np.ndarray]:
    """Time each state's forward pass in every round, after a warm-up round.

    The order rotates from round to round, because the first state finds caches of other states.
    """
    seconds: dict[str, list[float]] = {name: [] for name in states}
    order = list(states)
    for number in range(rounds + 1):
        order.append(order.pop(0))
        for name in order:
            model = states[name]()
            _wait(base.device)
            started = time.perf_counter()
            model(**inputs)
            _wait(base.device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: np.array(times) for name, times in seconds.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

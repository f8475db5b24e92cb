"""Rows of `training_cost` with given figures."""

import math

import pandas as pd

POINTS = ((8, 16), (8, 512))
NOISE = {1: -1, 2: 0, 3: 1}  # of a round, in units of the spread
DEFAULTS = {
    "peak_memory_bytes": 1e9,
    "loading_peak_memory_bytes": 5e8,
    "step_seconds": 1.0,
    "flops": 1e12,
    "trainable_parameters": 100,
    "weight_bytes": 3e8,
    "gradient_bytes": 0,
    "optimizer_state_bytes": 0,
}


def costs(settings, spread=0.01, control=1.0):
    """Three rounds of every configuration at every point.

    Args:
        settings: values of columns by configuration, numbers or functions of the tokens per step.
        spread: of the logarithm over rounds, in measured columns of all but the first one.
        control: the second copy of the first configuration over the first.
    """
    rows = []
    for n_rows, length in POINTS:
        tokens = n_rows * length
        for number, noise in NOISE.items():
            point = {"round": number, "rows": n_rows, "length": length, "tokens": tokens}
            for index, (name, own) in enumerate(settings.items()):
                given = {
                    key: value(tokens) if callable(value) else value
                    for key, value in (DEFAULTS | own).items()
                }
                factor = math.exp(spread * noise) if index else 1.0
                about = point | {"configuration": name, "method": name.split()[0], "control": False}
                rows.append(about | given | _times(given, factor))
                if not index:
                    again = control * math.exp(spread * noise)
                    rows.append(about | given | _times(given, again) | {"control": True})
    return pd.DataFrame(rows).assign(reason=None)


def _times(given, factor):
    return {key: factor * given[key] for key in ("peak_memory_bytes", "step_seconds")}

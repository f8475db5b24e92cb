"""Trace of each run: whether general text shows what the run was tuned on, as one verdict.

Readable trace, trace that is not of the task, or no trace found, by the rule of
`peftlens.diffing.trace_verdict`: words that the activation difference raises on general text or the
user's own, tested for relevance to the training text, beside random updates and the test's power.
Of the probes `patchscope` and `update_directions` the tables that there are add to it.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from peftlens.diffing.trace_verdict import COSINE, trace_verdict
from peftlens.results.table import IDENTITY, Column, measured

INPUTS = ("activation_difference",)
ALSO_READS = ("patchscope", "update_directions")
VERSION = 1
OPTIONAL = True  # as the probe that it reads

COLUMNS = (
    *IDENTITY,
    Column(
        "verdict", "readable trace; trace, not of the task; no trace found; or why there is none"
    ),
    Column("q", "smallest q of words on general or own text, corrected over rows and probes", "1"),
    Column("source", "probe with the words"),
    Column("layers", "list of the blocks after which words of the training are raised"),
    Column("words", "list of the most raised words of the row with the smallest q"),
    Column("typical", "list of those of them that are typical of the training text"),
    Column("larger", "number of blocks after which all random updates change the states less"),
    Column("random_found", "share of random updates that raise words of the training", "1"),
    Column("power", f"share found of directions with a cosine of {COSINE} to words of it", "1"),
    Column("sentence", "the verdict with its numbers"),
)
CHARTS = ()


def combine(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per run that was measured."""
    present = {name: measured(tables[name]) for name in (*INPUTS, *ALSO_READS) if name in tables}
    names = [column.name for column in IDENTITY]
    identities = pd.concat([frame[names] for frame in present.values()]).drop_duplicates("run")
    rows = [
        dict(identity)
        | _verdict({name: frame[frame["run"] == run] for name, frame in present.items()})
        for run, identity in zip(identities["run"], identities.to_dict("records"), strict=True)
    ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    floats = dict.fromkeys(("q", "random_found", "power"), "Float64")
    return frame.astype(floats | {"larger": "Int64"})


def _verdict(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    found = trace_verdict(tables)
    lists = {name: list(getattr(found, name)) for name in ("layers", "words", "typical")}
    return vars(found) | lists | {"verdict": found.outcome}

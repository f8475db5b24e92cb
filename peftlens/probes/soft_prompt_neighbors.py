"""Which vocabulary tokens lie nearest to each vector of a soft prompt, at every checkpoint.

Neighbours alone prove nothing: a prompt that starts at vocabulary embeddings is near them without
having learned anything. With a checkpoint at step 0 the table shows the neighbours before training
beside those after it, and how far each vector moved.
Source: Lester et al. 2021, arXiv:2104.08691, section 7 (cosine, five neighbours).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.linalg import nearest_by_cosine
from peftlens.models.adapters import opened
from peftlens.models.vocabulary import embedding_table, readable, soft_prompt
from peftlens.run import Run
from peftlens.table import Chart, Column

REQUIRES = frozenset({"soft_prompt"})
VERSION = 1
NEIGHBOURS = 5
COLUMNS = (
    Column("step", "training steps so far"),
    Column("position", "which virtual token, counted from 0"),
    Column("neighbour", "1 is the nearest"),
    Column("token_id", "id of the vocabulary token"),
    Column("token", "the token; ␣ is a space, <...> are bytes and marks that can't be shown"),
    Column("cosine", "cosine of the virtual token and the vocabulary token's embedding", "1"),
    Column("moved", "||p − p0|| / ||p0||, p0 the vector at step 0, if that was saved", "1"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(run: Run) -> pd.DataFrame:
    """A row per step, virtual token and neighbour."""
    tables, first = [], None
    for step in run.steps:
        with opened(run, step) as (model, base):
            prompt, table = soft_prompt(model), embedding_table(base.model)  # (n, d), (V, d)
            tokenizer = base.tokenizer
        first = prompt if step == 0 else first
        moved = np.full(len(prompt), np.nan) if first is None else _moved(prompt, first)
        found = nearest_by_cosine(prompt, table, NEIGHBOURS)
        n = len(prompt)
        ids = found.ids.ravel()
        tables.append(
            pd.DataFrame(
                {
                    "step": step,
                    "position": np.repeat(np.arange(n), NEIGHBOURS),
                    "neighbour": np.tile(np.arange(1, NEIGHBOURS + 1), n),
                    "token_id": ids,
                    "token": [readable(tokenizer, int(token)) for token in ids],
                    "cosine": found.similarity.ravel(),
                    "moved": np.repeat(moved, NEIGHBOURS),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _moved(prompt: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm(prompt - first, axis=1) / np.linalg.norm(first, axis=1)

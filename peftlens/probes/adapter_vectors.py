"""Geometry of a soft prompt's or prefix's vectors: lengths, duplicates and collapse.

It reads the adapter file only and needs no base model; the soft_prompt probes measure the nearest
vocabulary tokens. A prefix vector is the concatenation of the keys and values of all layers.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

from peftlens.adapters.adapter_file import read
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import effective_rank
from peftlens.results.table import Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = (
    True  # meant for single adapters; in a study, the soft_prompt probes are more informative
)
TENSOR = "prompt_embeddings"
COLUMNS = (
    Column("position", "index of the virtual token, counted from 0"),
    Column("norm", "Euclidean length of the vector", "1"),
    Column("nearest", "position of the other vector with the highest cosine"),
    Column("cosine", "cosine with the nearest vector", "1"),
    Column("mean_cosine", "mean cosine with all other vectors", "1"),
    Column("directions", "effective rank of all vectors together, normalized to length 1", "1"),
)
CHARTS = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per vector.

    Raises:
        NotApplicable: the file has no such vectors, or non-finite values.
    """
    if run.record.results.get("trainable_parameters") == 0:
        raise NotApplicable(f"{run.config.method} trains nothing")
    file = read(run.adapter(), trust_remote_code=context.trust_remote_code)
    if TENSOR not in file.header or len(file.header[TENSOR].shape) != 2:
        raise NotApplicable(f"{file.adapter_type} trains no vectors before the input")
    if file.non_finite_tensors:
        raise NotApplicable("the file has NaN or infinite values")
    with file.open_weights() as opened:
        vectors = opened.get_tensor(TENSOR).float()  # (n, d)
    cosines = normalize(vectors) @ normalize(vectors).T  # (n, n)
    n = len(vectors)
    others = cosines.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    alone = n == 1
    s = np.linalg.svd(normalize(vectors).numpy(), compute_uv=False)
    return pd.DataFrame(
        {
            "position": range(n),
            "norm": vectors.norm(dim=1).double().numpy(),
            "nearest": None if alone else others.argmax(dim=1).numpy(),
            "cosine": None if alone else others.amax(dim=1).double().numpy(),
            "mean_cosine": None if alone else ((cosines.sum(dim=1) - 1) / (n - 1)).double().numpy(),
            "directions": effective_rank(s) if s.any() else None,
        }
    ).astype({"nearest": "Int64"} | dict.fromkeys(("cosine", "mean_cosine"), "Float64"))

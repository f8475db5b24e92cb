"""Activation difference: what tuning adds to the residual stream, read as words.

The mean change δ of the states after each block, over the first positions of texts, is read through
the base's final norm and head. On general text, which has nothing to do with the task, words of the
task are a trace of the training. Source: Minder et al. 2025, arXiv:2510.13900.

The words that δ raises are tested for relevance to the training text against random words of equal
frequency, with q-values over all layers and texts. The trace's null are random updates of equal
norm: the size of their δ, and the share of them in which words of the task are found. Beside a
negative result stands the power. Of a model with more than 32 blocks 32 are read. It applies to
every method that changes the states of a decoder.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.diffing import traces
from peftlens.diffing.activation_differences import (
    ActivationDifference,
    activation_differences,
    layers_read,
    random_differences,
    texts_read,
)
from peftlens.diffing.activation_differences import DifferenceOptions as Config
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.diffing.text_sources import known_word_scores
from peftlens.diffing.traces import head_reading
from peftlens.diffing.word_relevance import WordScores
from peftlens.models.base_model import BaseModel
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # with random updates about a minute for each run
FILES = ("texts", "training_text")

COLUMNS = (
    Column("text", "kind of text: general, of the task, or own"),
    Column("layer", "number of the block before the states, counted from 1"),
    Column("norm", "‖δ‖", "1"),
    Column("stream_norm", "mean length of the base's states, ‖h‖", "1"),
    Column("relative_norm", "norm / stream_norm", "1"),
    Column(
        "random_relative_norm",
        "mean relative_norm of random updates of equal norm, on general text",
        "1",
    ),
    Column("random_larger", "share of them whose relative_norm there is at least as large", "1"),
    Column("n_texts", "number of texts"),
    Column("n_positions", "number of positions"),
    Column("random_updates", "number of random updates of equal norm"),
    Column(
        "random_found", "share of them whose words are found in any layer, on general text", "1"
    ),
    *traces.COLUMNS,
)
CHARTS = (
    Chart(
        "line",
        x="layer",
        y="standardized",
        title="Relevance of the words that the activation difference raises",
        each="text",
        by="configuration",
    ),
    Chart(
        "line",
        x="layer",
        y="relative_norm",
        title="Size of the activation difference",
        each="text",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per kind of text and layer.

    Without a known training text the columns of its test are missing.
    """
    config.require_valid()
    base = context.base_model(run)
    require_decoder_only(base)
    texts = texts_read(run, base, items=config.items, positions=config.positions, own=config.texts)
    scores = known_word_scores(run, base, config.training_text)
    differences = activation_differences(run, base, texts)
    drawn = random_differences(run, base, texts["general"], config.random_updates)
    sizes = [one.norm(dim=1) / differences["general"].stream_norm for one in drawn]
    null = {
        "random_updates": len(drawn),
        "random_found": _share_found(base, scores, drawn),
    }
    layers = layers_read(base)
    rows = [
        {"text": kind, "layer": layer + 1, "n_texts": one.n_texts, "n_positions": one.n_positions}
        | _sizes(one, at)
        | (_beside(one, at, [float(size[at]) for size in sizes]) if kind == "general" else {})
        | null
        for kind, one in differences.items()
        for at, layer in enumerate(layers)
    ]
    changes = torch.cat([head_reading(base, one.delta) for one in differences.values()])
    cells = traces.trace_cells(base, scores, changes)
    frame = pd.DataFrame([row | cell for row, cell in zip(rows, cells, strict=True)])
    return frame.reindex(columns=[column.name for column in COLUMNS])


def _sizes(one: ActivationDifference, at: int) -> dict[str, Any]:
    norm, length = float(one.delta[at].norm()), float(one.stream_norm[at])
    return {"norm": norm, "stream_norm": length, "relative_norm": norm / length}


def _beside(one: ActivationDifference, at: int, random: Sequence[float]) -> dict[str, Any]:
    """Compare the size in one layer with that of random updates, if there are any."""
    if not random:
        return {}
    own = float(one.delta[at].norm() / one.stream_norm[at])
    return {
        "random_relative_norm": float(np.mean(random)),
        "random_larger": float(np.mean([size >= own for size in random])),
    }


def _share_found(
    base: BaseModel, scores: WordScores | None, drawn: Sequence[torch.Tensor]
) -> float | None:
    """Return the share of random updates, whose δ has shape (L, d), with words of the training."""
    if not scores or not drawn:
        return None
    return float(np.mean([traces.is_found(scores, head_reading(base, one)) for one in drawn]))

"""Patchscope: what tuning added, put into a neutral frame, and the words that the base then says.

The activation difference δ of a block (see `activation_difference`) takes the place of the state at
the last position of "cat→cat; 1135→1135; hello→hello; ?" after that block of the base, scaled to
its length. Measured is the change of the next token's logits from the mean over random directions.
Of a soft prompt the states of each virtual token are read as well; their logits are compared with
those of the prompt before training, where it is known. Source: Ghandeharioun et al. 2024,
arXiv:2401.06102, section 4.2; of soft prompts: Ramati et al. 2024, arXiv:2410.11660.

The raised words are tested for relevance to the training text against random words of equal
frequency, with q-values over all rows. The null are random updates of equal norm, read alike, and
beside a negative result stands the power of the test for directions read through the head. Ten
blocks at equal distances are read, the last among them. It applies to every method that changes the
states of a decoder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from peftlens import registry
from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.initial_state import open_start
from peftlens.adapters.run_context import RunContext
from peftlens.diffing import traces
from peftlens.diffing.activation_differences import DifferenceOptions as Config
from peftlens.diffing.activation_differences import (
    activation_differences,
    layers_read,
    random_differences,
    spaced,
    texts_read,
)
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.diffing.patchscope import mean_random_logits, patched_logits, virtual_states
from peftlens.diffing.random_updates import open_random_update
from peftlens.diffing.text_sources import known_word_scores
from peftlens.models.base_model import BaseModel
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 1
MEASURED_WITH = "activation_difference"
OPTIONAL = True  # with random updates about a minute for each run
FILES = ("texts", "training_text")
_LAYERS = 10
_VIRTUAL = "virtual tokens"

COLUMNS = (
    Column("source", "text of the activation difference: general, task or own; or virtual tokens"),
    Column("position", "position of the virtual token; missing in other rows"),
    Column("layer", "number of the block before the states, counted from 1"),
    Column("reference", "with what the logits are compared: random directions, or start"),
    *traces.COLUMNS,
    Column("random_updates", "number of random updates of equal norm"),
    Column("random_found", "share of them whose words are found in any row of this source", "1"),
)
CHARTS = (
    Chart(
        "line",
        x="layer",
        y="standardized",
        title="Relevance of the words that the patched base says",
        each="source",
        by="configuration",
    ),
)
# Vectors of a source by the index of the block, each of shape (n, d).
Vectors = Mapping[int, torch.Tensor]


@dataclass(frozen=True)
class _Source:
    """Vectors of one source, those to compare with, and those of random updates."""

    name: str
    own: Vectors
    start: Vectors | None
    random: tuple[Vectors, ...]

    def changes(self, base: BaseModel, vectors: Vectors) -> torch.Tensor:
        """Return the change of the logits for each block and vector, shape (L · n, V)."""
        parts = []
        for layer, these in vectors.items():
            reference = (
                mean_random_logits(base, layer)
                if self.start is None
                else patched_logits(base, layer, self.start[layer])
            )
            there = these.norm(dim=1, keepdim=True) > 0  # a vector of zero has no direction
            parts.append((patched_logits(base, layer, these) - reference) * there.cpu())
        return torch.cat(parts)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per source, layer and, of a soft prompt, virtual token.

    Without a known training text the columns of its test are missing.
    """
    config.require_valid()
    base = context.base_model(run)
    require_decoder_only(base)
    scores = known_word_scores(run, base, config.training_text)
    rows, changes = [], []
    for source in _sources(run, base, config):
        found = None
        if scores and source.random:
            found = [traces.is_found(scores, source.changes(base, one)) for one in source.random]
        null = {
            "random_updates": len(source.random),
            "random_found": None if found is None else float(np.mean(found)),
        }
        changes.append(source.changes(base, source.own))
        rows += [place | null for place in _places(source)]
    cells = traces.trace_cells(base, scores, torch.cat(changes))
    frame = pd.DataFrame([row | cell for row, cell in zip(rows, cells, strict=True)])
    frame = frame.reindex(columns=[column.name for column in COLUMNS])
    return frame.astype({"position": "Int64"})


def _places(source: _Source) -> Iterator[dict[str, Any]]:
    for layer, vectors in source.own.items():
        for position in range(len(vectors)):
            yield {
                "source": source.name,
                "position": position if source.name == _VIRTUAL else None,
                "layer": layer + 1,
                "reference": "random directions" if source.start is None else "start",
            }


def _sources(run: TrainedModel, base: BaseModel, config: Config) -> Iterator[_Source]:
    texts = texts_read(run, base, items=config.items, positions=config.positions, own=config.texts)
    differences = activation_differences(run, base, texts)
    drawn = random_differences(run, base, texts["general"], config.random_updates)
    for kind, one in differences.items():
        random = tuple(_of_blocks(base, delta) for delta in drawn) if kind == "general" else ()
        yield _Source(kind, _of_blocks(base, one.delta), None, random)
    if "soft_prompt" in registry.exposed(run.config.method, run.config.method_config):
        yield _of_prompt(run, base, config.random_updates)


def _of_blocks(base: BaseModel, deltas: torch.Tensor) -> Vectors:
    """Pick the blocks that are read from δ of all that were measured, shape (L, d)."""
    read = layers_read(base)
    return {layer: deltas[read.index(layer)][None] for layer in spaced(read, _LAYERS)}


def _of_prompt(run: TrainedModel, base: BaseModel, draws: int) -> _Source:
    def read(model: Any) -> Vectors:
        count = model.active_peft_config.num_virtual_tokens
        states = virtual_states(model, base, count)  # (L, n, d)
        return {layer: states[layer] for layer in spaced(layers_read(base), _LAYERS)}

    with open_run(run, base) as model:
        own = read(model)
    try:
        with open_start(run, base) as model:
            start = read(model)
        random = []
        for seed in range(draws):
            with open_random_update(run, base, seed) as model:
                random.append(read(model))
    except NotApplicable:  # an adapter of another program does not record its start
        start, random = None, []
    return _Source(_VIRTUAL, own, start, tuple(random))

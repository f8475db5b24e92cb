"""Directions of an adapter on the map of the vocabulary, layer by layer.

Activation differences and the directions that updates write are read through the base's final norm
and head, the directions that updates read from the residual stream by their cosines to the input
embeddings, as in the probes `activation_difference` and `update_directions`. A point is placed at
one of the tokens that are raised most, or nearest: the one in the middle of them on the map. Their
mean would lie among unrelated tokens whenever they belong to several clusters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.diffing.activation_differences import (
    activation_differences,
    layers_read,
    texts_read,
)
from peftlens.diffing.direction_words import both_signs
from peftlens.diffing.directions import Component, Side, side_of, update_components
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.diffing.traces import head_reading
from peftlens.explorer.data import AdapterDirections, DirectionPoint
from peftlens.models.base_model import BaseModel
from peftlens.models.model_kind import NotLanguageModelError
from peftlens.models.target_modules import BLOCK
from peftlens.results.table import NotApplicable, measured, read_of
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import Vocabulary, vocabulary

DIRECTIONS = 2  # strongest directions of each side of a block; both signs of each are points
LISTED = 10  # tokens of a point
_TEXTS = 250
_POSITIONS = 5


def adapter_directions(
    run: TrainedModel, name: str, base: BaseModel, points: NDArray[np.float32]
) -> AdapterDirections:
    """Place an adapter's activation differences and update directions on a map.

    Args:
        run: a finished run.
        name: name of the run on the page.
        base: its base model, without an attached method.
        points: points of the tokens on the map, shape (V, 2).

    Raises:
        InputError: a table of the run is damaged.
    """
    vocab = vocabulary(base)
    found: list[DirectionPoint] = []
    notes: list[str] = []
    change, q = None, _measured_q(run)
    for what, read in (
        ("activation differences", _differences),
        ("update directions", _updates),
    ):
        try:
            require_decoder_only(base)
            for one in read(run, base):
                found.append(_point(one, q.get(one.key), vocab, points))
                if one.kind == "difference":
                    change = one.values  # the last layer's remains
        except (NotApplicable, NotLanguageModelError) as reason:
            notes.append(f"No {what}: {reason}.")
    return AdapterDirections(
        name=name,
        points=tuple(found),
        change=None if change is None else _change(change, vocab),
        notes=tuple(notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Value of every token (V,) for one direction; see `DirectionPoint`."""

    layer: int
    kind: str
    rank: int
    name: str
    size: float
    values: NDArray[np.float32]
    key: tuple[Any, ...]  # of its row in the table of a probe


def _differences(run: TrainedModel, base: BaseModel) -> Iterator[_Reading]:
    texts = texts_read(run, base, items=_TEXTS, positions=_POSITIONS)
    general = activation_differences(run, base, {"general": texts["general"]})["general"]
    sizes = general.delta.norm(dim=1) / general.stream_norm  # (L,)
    changes = head_reading(base, general.delta).numpy()  # (L, V)
    for at, layer in enumerate(layers_read(base)):
        if changes[at].any():  # before the first changed block there is none
            yield _Reading(
                layer=layer + 1, kind="difference", rank=0,
                name="activation difference", size=float(sizes[at]), values=changes[at],
                key=(layer + 1,),
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Direction:
    """One direction of a component, and where it is."""

    component: Component
    index: int
    block: int
    side: Side

    @property
    def size(self) -> float:
        return float(self.component.values[self.index])


def _updates(run: TrainedModel, base: BaseModel) -> Iterator[_Reading]:
    directions = list(_directions(update_components(run, base, DIRECTIONS), base))
    if not directions:
        raise NotApplicable("no changed weight writes into the residual stream or reads it")
    place = attrgetter("side", "block")
    for _, group in groupby(sorted(directions, key=place), place):
        strongest = sorted(group, key=lambda one: -one.size)[:DIRECTIONS]
        yield from _both_signs(strongest, base)


def _directions(components: list[Component], base: BaseModel) -> Iterator[_Direction]:
    for one in components:
        match, side = BLOCK.match(one.weight), side_of(one, base)
        if match and side:
            for index in range(len(one.values)):
                yield _Direction(component=one, index=index, block=int(match["index"]), side=side)


def _both_signs(strongest: list[_Direction], base: BaseModel) -> Iterator[_Reading]:
    """Read the strongest directions of one side of a block in both signs."""
    side = strongest[0].side
    vectors = np.stack([getattr(one.component, side)[:, one.index] for one in strongest], axis=1)
    for rank, (sign, values) in enumerate(both_signs(base, side, vectors)):
        one = strongest[rank // 2]
        weight = BLOCK.sub("", one.component.weight, count=1).removesuffix(".weight")
        yield _Reading(
            layer=one.block + 1,
            kind=side,
            rank=rank,
            name=f"{weight}, direction {one.index + 1}, {'+' if sign > 0 else '−'}",
            size=one.size,
            values=values,
            key=(one.component.weight, one.index + 1, sign),
        )


def _point(
    one: _Reading, q: float | None, vocab: Vocabulary, points: NDArray[np.float32]
) -> DirectionPoint:
    """Place a reading at the most central of its first tokens, in the sum of distances."""
    usable = vocab.usable[vocab.usable < len(one.values)]
    ids = usable[np.argsort(-one.values[usable], kind="stable")[:LISTED]]
    places = points[ids].astype(float)  # (k, 2)
    distances = np.linalg.norm(places[:, None] - places, axis=2)  # (k, k)
    return DirectionPoint(
        layer=one.layer,
        kind=one.kind,
        rank=one.rank,
        name=one.name,
        size=one.size,
        center=int(ids[distances.sum(axis=1).argmin()]),
        tokens=ids,
        values=one.values[ids].astype(float),
        q=q,
    )


def _change(values: NDArray[np.float32], vocab: Vocabulary) -> NDArray[np.float32]:
    """Return a value for each token, shape (V,), minus the mean; 0 for tokens without a logit."""
    usable = vocab.usable[vocab.usable < len(values)]
    change = np.zeros(len(vocab.tokens), np.float32)
    shared = min(len(change), len(values))
    change[:shared] = values[:shared] - values[usable].mean()
    return change


def _measured_q(run: TrainedModel) -> dict[tuple[Any, ...], float]:
    """Return the q-values that the probes have measured, by the keys of readings."""
    return {
        **_column(run, "activation_difference", ("layer",), lambda rows: rows["text"] == "general"),
        **_column(run, "update_directions", ("weight", "direction", "sign")),
    }


def _column(
    run: TrainedModel, probe: str, keys: tuple[str, ...], chosen: Any = None
) -> dict[tuple[Any, ...], float]:
    """Read the q-values of a probe's table, without missing ones; empty if there is no table."""
    file = run.table_folder and run.table_folder / f"{probe}.parquet"
    if not file or not file.exists():
        return {}
    rows: pd.DataFrame = measured(read_of(file, probe, [run.id]).frame)
    rows = rows[chosen(rows)] if chosen else rows
    rows = rows.dropna(subset=["q"])
    return dict(zip(rows[[*keys]].itertuples(index=False, name=None), rows["q"], strict=True))

"""Words of the strongest directions of each update: what a weight writes, and what it reads.

The update of a weight that writes into the residual stream (attention output, feed-forward down
projection, a bottleneck's up projection) writes along its left singular vectors, which are read
through the base's final norm and head. That of a weight that reads the stream reads along its
right singular vectors, compared with the input embeddings. Both signs are read. Source: Zhong &
Raghunathan 2025, arXiv:2508.00161. Whether the words have to do with the training text is tested by
permutation, corrected over all directions of the run; beside it stand the share of random
directions that are found, and the power: the share found of directions that mean words of the
training text. Projections of the module's input or output on the direction tell which tokens it
acts on, and whether it is more active on text of the task than on general text, compared with
random directions at the same place. The template of a task is part of its text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.diffing.direction_words import COSINES, LEVEL, both_signs, chance
from peftlens.diffing.directions import Component, Float, Side, side_of, update_components
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.diffing.projections import (
    Projected,
    auc,
    contrast_rows,
    in_context,
    projections,
    random_directions,
    standardized_p,
)
from peftlens.diffing.text_sources import word_scores
from peftlens.diffing.word_relevance import Relevance, WordScores
from peftlens.errors import require
from peftlens.models.base_model import BaseModel
from peftlens.models.target_modules import BLOCK
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.clusters import Clusters, clusters
from peftlens.vocab.vocabulary import readable

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # meant for single runs
FILES = ("texts",)
_SHOWN = 10  # words and tokens of a row


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        directions: number of directions of each weight, strongest first.
        words: number of words that are tested for each direction and sign.
        task_items: number of texts of the task.
        general_items: number of general texts.
        random: number of random directions that are tested for each side.
        texts: file with texts of the training, one a line, for an adapter whose task is unknown.
    """

    directions: int = 2
    words: int = 40
    task_items: int = 64
    general_items: int = 8
    random: int = 50
    texts: str = ""


COLUMNS = (
    Column("weight", "name of the weight matrix, bias, or part of a bottleneck adapter"),
    Column("block", "number of the block, counted from 1"),
    Column("side", "whether it writes into the residual stream or reads it: writes or reads"),
    Column("direction", "number of the direction, counted from 1, strongest first"),
    Column("sign", "sign in which the direction is read: 1 or -1"),
    Column("value", "singular value σ of the update", "1"),
    Column("share", "σ² over ‖ΔW‖_F²", "1"),
    Column("relevant", "true if q is at most 0.05; missing if text or words are unknown"),
    Column("q", "p corrected over all directions and signs of the run", "1"),
    Column("p", "share of lists of random words of equal frequency that are as relevant", "1"),
    Column("standardized", "relevance in standard deviations of these lists", "1"),
    Column("words", "list of the ten most raised, or nearest, words"),
    Column("typical_words", "list of those words tested that are typical of the training text"),
    Column("cluster", "vocabulary cluster into which most of the tokens fall"),
    Column("cluster_share", "share of the tokens in it", "1"),
    Column("cluster_share_random", "mean of this share over random directions", "1"),
    Column("auc", "probability that the projection is larger in size on text of the task", "1"),
    Column("p_auc", "share of random directions whose AUC is as far from 0.5", "1"),
    Column("q_auc", "this p, corrected over the directions of the run", "1"),
    Column("task_tokens", "list of the tokens of the task's text with the largest projections"),
    Column("general_tokens", "list of those of general text"),
    Column("found", "share of this side's lists in the run with p at most 0.05", "1"),
    Column("found_random", "this share among lists of random directions", "1"),
    *(
        Column(
            f"power_at_{cosine}",
            "share of directions found at p at most 0.01 that have this cosine to words of the "
            "training text",
            "1",
        )
        for cosine in COSINES
    ),
)
CHARTS = (
    Chart(
        "line",
        x="block",
        y="standardized",
        title="Relevance of the update's words to the training text",
        each="configuration",
        by="side",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per weight, direction and sign, in the model's order.

    Raises:
        NotApplicable: no update writes into the residual stream or reads it, or the base is an
            encoder-decoder.
        InputError: an option is out of range, or the file has no text.
    """
    for name in ("directions", "words", "task_items", "general_items", "random"):
        require(name, getattr(config, name), 1)
    base = context.base_model(run)
    require_decoder_only(base)
    sides = list(_sides(update_components(run, base, config.directions), base))
    if not sides:
        raise NotApplicable("no changed weight writes into the residual stream or reads it")
    scores = _scores(run, base, config)
    rows = [row for one in sides for row in _rows(one, base, scores, config)]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    if scores is not None:
        frame = _tested(frame, base, scores, config)
    frame["cluster_share_random"] = frame["side"].map(
        {side: _random_cluster_share(base, side, config) for side in set(frame["side"])}
    )
    return _activity(context, run, frame, sides, config)


def _scores(run: TrainedModel, base: BaseModel, config: Config) -> WordScores | None:
    """Score words for the training text; None if it is unknown, or the vocabulary has no words."""
    if run.task is None and not config.texts:
        return None
    scores = word_scores(run, base, config.texts)
    return scores if len(scores.words) > config.words else None


@dataclass(frozen=True, kw_only=True)
class _OneSide:
    """Directions that one weight reads, or writes: unit columns of (d, k)."""

    component: Component
    side: Side
    vectors: Float


def _sides(components: Sequence[Component], base: BaseModel) -> Iterator[_OneSide]:
    for one in components:
        side = side_of(one, base)
        vectors = one.reads if side == "reads" else one.writes
        if side and vectors is not None:
            yield _OneSide(component=one, side=side, vectors=vectors)


def _rows(
    one: _OneSide, base: BaseModel, scores: WordScores | None, config: Config
) -> Iterator[dict[str, Any]]:
    component, match = one.component, BLOCK.match(one.component.weight)
    partition = _clusters(base)
    for number, (sign, values) in enumerate(both_signs(base, one.side, one.vectors)):
        index = number // 2
        found = scores and scores.test(scores.ranked(values), listed=config.words)
        yield {
            "weight": component.weight,
            "block": int(match["index"]) + 1 if match else None,
            "side": one.side,
            "direction": index + 1,
            "sign": sign,
            "value": component.values[index],
            "share": component.shares[index],
            **(_relevance(found) if found else {"words": _first_tokens(base, values)}),
            **_cluster(partition, values, config.words),
        }


def _relevance(found: Relevance) -> dict[str, Any]:
    return {
        "p": found.p,
        "standardized": found.standardized,
        "words": [*found.words[:_SHOWN]],
        "typical_words": [*found.typical[:_SHOWN]],
    }


def _first_tokens(base: BaseModel, values: NDArray[np.float32]) -> list[str]:
    best = np.argsort(-values, kind="stable")[:_SHOWN]
    return [readable(base.tokenizer, int(token)) for token in best]


def _clusters(base: BaseModel) -> Clusters:
    return base.derived("clusters", lambda: clusters(base))


def _cluster(partition: Clusters, values: NDArray[np.float32], listed: int) -> dict[str, Any]:
    """Return the commonest cluster of the first tokens that have one, and their share in it."""
    known = np.flatnonzero(partition.label[: len(values)] >= 0)
    first = known[np.argsort(-values[known], kind="stable")[:listed]]
    counts = np.bincount(partition.label[first])
    most = int(counts.argmax())
    return {"cluster": partition.names[most], "cluster_share": counts[most] / len(first)}


def _random(base: BaseModel, config: Config) -> Float:
    width = base.model.config.get_text_config().hidden_size
    return random_directions(width, config.random, np.random.default_rng(1))


def _random_cluster_share(base: BaseModel, side: Side, config: Config) -> float:
    partition = _clusters(base)
    return float(
        np.mean(
            [
                _cluster(partition, values, config.words)["cluster_share"]
                for _, values in both_signs(base, side, _random(base, config))
            ]
        )
    )


def _tested(
    frame: pd.DataFrame, base: BaseModel, scores: WordScores, config: Config
) -> pd.DataFrame:
    """Add the correction of p over the run, and what chance and planted directions give."""
    frame["q"] = benjamini_hochberg(frame["p"])
    frame["relevant"] = frame["q"] <= LEVEL
    key = crc32(scores.scores.tobytes()), config.random, config.words
    for side in [*dict.fromkeys(frame["side"])]:
        rows = frame[frame["side"] == side]
        nulls = base.derived(
            "words of random directions",
            lambda side=side: chance(base, side, scores, random=config.random, listed=config.words),
            key=(side, *key),
            most=8,
        )
        frame.loc[rows.index, "found"] = (rows["p"] <= LEVEL).mean()
        frame.loc[rows.index, "found_random"] = nulls.found
        for cosine, power in nulls.power.items():
            frame.loc[rows.index, f"power_at_{cosine}"] = power
    return frame


def _activity(
    context: RunContext,
    run: TrainedModel,
    frame: pd.DataFrame,
    sides: Sequence[_OneSide],
    config: Config,
) -> pd.DataFrame:
    """Add the tokens on which each direction acts, and the contrast between texts."""
    base = context.base_model(run)
    texts = contrast_rows(
        run, base, texts=config.texts, task_items=config.task_items,
        general_items=config.general_items,
    )  # fmt: skip
    projected = {one.component.weight: _projected(one, config.random) for one in sides}
    with context.open_run(run) as model:
        read = {kind: projections(model, base, rows, projected) for kind, rows in texts.items()}
    for kind, (places, values) in read.items():
        acting = [
            _tokens(base, texts[kind], places, sign * values[weight][:, direction - 1])
            if weight in values
            else None
            for weight, direction, sign in zip(
                frame["weight"], frame["direction"], frame["sign"], strict=True
            )
        ]
        frame[f"{kind}_tokens"] = pd.Series(acting, index=frame.index, dtype=object)
    if "task" in read:
        _add_auc(frame, sides, *(read[kind][1] for kind in ("task", "general")))
    return frame


def _projected(one: _OneSide, count: int) -> Projected:
    """Return a weight's directions with random ones behind them."""
    rng = np.random.default_rng(crc32(one.component.weight.encode()))
    random = random_directions(len(one.vectors), count, rng)
    vectors = np.concatenate([one.vectors, random], axis=1)
    return Projected(module=one.component.module, output=one.side == "writes", vectors=vectors)


def _tokens(
    base: BaseModel, rows: Sequence[Any], places: list[tuple[int, int]], values: Float
) -> list[str]:
    """Return the distinct tokens with the largest values, largest first."""
    best = np.argsort(-values, kind="stable")[: 5 * _SHOWN]
    shown = (in_context(base, rows[places[at][0]], places[at][1])[0] for at in best)
    return [*dict.fromkeys(shown)][:_SHOWN]


def _add_auc(
    frame: pd.DataFrame,
    sides: Sequence[_OneSide],
    task: Mapping[str, NDArray[np.float32]],
    general: Mapping[str, NDArray[np.float32]],
) -> None:
    """Add AUC and its p, the same for both signs."""
    known = [one for one in sides if one.component.weight in task]
    areas = [
        auc(np.abs(task[one.component.weight]), np.abs(general[one.component.weight]))
        for one in known
    ]
    counts = [one.vectors.shape[1] for one in known]
    p = standardized_p([np.abs(one - 0.5) for one in areas], counts)
    columns = {
        "auc": np.concatenate([one[:k] for one, k in zip(areas, counts, strict=True)]),
        "p_auc": p,
        "q_auc": benjamini_hochberg(p),
    }
    index = frame.index[frame["weight"].isin([one.component.weight for one in known])]
    for name, values in columns.items():
        frame.loc[index, name] = np.repeat(values, 2)

"""Where in the network the gain of a run sits: its changes active in some blocks only.

The change of each block is switched on alone, and off alone; so are those of attention, of the
feed-forward layers and of the rest. The gain is the decrease of the loss on right answers from the
base. The smallest set of blocks that keeps 95 % of it is found greedily: blocks are dropped one
after another, those first whose absence raises the loss least, unless too little would be left.
The set is chosen on validation examples, scored on test examples, and compared with random sets of
as many blocks. Embeddings, the last norm and the head count as one more block. Where more than 32
blocks were changed, neighbors are switched together in 32 groups, so that the cost grows with the
depth and not with its square; a group is then what is called a block here. Beside the whole run
stands the run with random updates of equal norm, from which a gain that training found is missing;
see `diffing.random_updates`. There are none where the start of what was trained is unknown. Soft
prompts act on the input alone, so that there is nothing to switch.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedExample
from peftlens.diffing.ablation import OUTSIDE, Ablation, Unit, opened_for_ablation
from peftlens.diffing.ablation_scores import AblationScorer, Pass, Scores
from peftlens.diffing.random_updates import open_random_update
from peftlens.diffing.text_sources import own_texts
from peftlens.errors import InputError, require
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import p_value, ratio_interval
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # four forward passes for each block
GROUPS = 32  # number of blocks up to which each is switched by itself
FILES = ("texts",)
_TOKENS = 600  # scored tokens of each kind of examples, whose probabilities (tokens, V) are kept


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        items: number of validation examples, and of test examples.
        kept: share of the gain that the smallest set of blocks keeps.
        draws: number of random sets with which it is compared.
        random_updates: number of random updates of equal norm with which the run is compared.
        texts: file with texts, one a line, of which the loss is taken in place of the task's right
            answers; for an adapter whose task is unknown.
    """

    items: int = 24
    kept: float = 0.95
    draws: int = 19
    random_updates: int = 3
    texts: str = ""


COLUMNS = (
    Column(
        "active",
        "where the run's changes are active: a block, or all but it, a kind, a set; random update "
        "stands for one of equal norm in all of them",
    ),
    Column(
        "block",
        "number of the block, counted from 1, of a group the first; missing for kinds and sets",
    ),
    Column("kind", "attention, feed_forward, or other modules; missing for blocks and sets"),
    Column(
        "blocks",
        "list of the numbers of a set's or group's blocks; 0 stands for the rest of the model",
    ),
    Column("loss", "loss of the right answers", "nats per token", "lower"),
    Column("gain", "decrease of this loss from the base", "nats per token", "higher"),
    Column("ci_low", "lower end of the gain's paired 95 % interval over examples"),
    Column("ci_high", "upper end of this interval"),
    Column("gain_share", "gain over the run's gain; missing if the run has none", "1"),
    Column(
        "label_loss",
        "negative log-probability of the right answer among the candidates; missing if these "
        "differ in several tokens",
        "nats",
        "lower",
    ),
    Column("accuracy", "share of examples answered right; missing likewise", "1", "higher"),
    Column("kl", "KL(run || ablated) of the answers' tokens", "nats per token", "lower"),
    Column("p", "of the smallest set: share of random sets that gain as much", "1"),
    Column("n_items", "number of examples"),
)
CHARTS = (
    Chart(
        "line",
        x="block",
        y="gain",
        title="Gain by block in which the run is active",
        low="ci_low",
        high="ci_high",
        each="configuration",
        by="active",
    ),
)
_KINDS = ("attention", "feed_forward", "other")


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per block, kind or set, and whether only that or all else is active.

    Raises:
        NotApplicable: nothing inside the blocks was changed, or the task is unknown.
        InputError: an option is out of range, or the file has too few texts.
    """
    require("items", config.items, 2)
    require("kept", config.kept, 0, 1)
    require("draws", config.draws, 1)
    require("random_updates", config.random_updates, 0)
    base = context.base_model(run)
    if base.head and base.head.is_regression:
        raise NotApplicable("its head predicts a number, which has no probability to compare")
    collator = Collator.of(base, run.config.training.sequence_length)
    chosen_on, scored_on = (_tokenized(collator, examples) for examples in _examples(run, config))
    with opened_for_ablation(run, base) as ablation:
        smallest = _smallest(AblationScorer(ablation, collator, chosen_on), config.kept)
        scorer = AblationScorer(ablation, collator, scored_on)
        none, whole = scorer.score(()), scorer.score(ablation.units)
        rows = list(_rows(scorer, none, whole, smallest, config.draws))
    rows += _random_update_rows(run, base, scorer, none, whole, config.random_updates)
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    floats = dict.fromkeys(("gain_share", "label_loss", "accuracy", "p"), float)
    return frame.astype({"block": "Int64"} | floats)


def _examples(run: TrainedModel, config: Config) -> tuple[list[Example], list[Example]]:
    """Return examples on which the set is chosen, and others on which all is scored."""
    if not config.texts:
        splits = task_of(run).splits
        return [*splits["validation"][: config.items]], [*splits["test"][: config.items]]
    examples = [Example("", (text,), 0) for text in own_texts(config.texts)[: 2 * config.items]]
    if len(examples) < 4:
        raise InputError(f"texts {config.texts!r} has fewer than four texts; give more")
    return examples[::2], examples[1::2]


def _tokenized(collator: Collator, examples: Sequence[Example]) -> list[TokenizedExample]:
    """Tokenize examples that have scored tokens, up to their largest number in total."""
    items = [item for item in collator.items(examples)[0] if item.rows[item.correct].scored]
    totals = np.cumsum([item.rows[item.correct].scored for item in items])
    return items[: max(2, int((totals <= _TOKENS).sum()))]


def _groups(ablation: Ablation) -> dict[int, frozenset[Unit]]:
    """Map each changed block, or the first of each group of neighbors, to the units switched."""
    changed = [*dict.fromkeys(unit.block for unit in ablation.units)]
    inside = [index for index in changed if index != OUTSIDE]
    parts = [part.tolist() for part in np.array_split(inside, min(GROUPS, len(inside)))]
    parts += [[OUTSIDE]] if OUTSIDE in changed else []
    return {
        part[0]: frozenset(unit for unit in ablation.units if unit.block in part) for part in parts
    }


def _smallest(scorer: AblationScorer, kept: float) -> frozenset[Unit] | None:
    """Find the smallest set of blocks that keeps a share of the gain; None without a gain.

    Dropping needs two passes for each block; adding the best block each time, as many as blocks
    times blocks in the set.
    """
    whole = scorer.score(scorer.ablation.units)
    base_loss = scorer.score(()).scores.loss.mean()
    least = kept * (base_loss - whole.scores.loss.mean())
    if least <= 0:
        return None
    groups = _groups(scorer.ablation)
    without = {
        index: scorer.score(whole.units - units, whole).scores.loss.mean()
        for index, units in track([*groups.items()], "Leaving out each block")
    }
    left = whole
    for index in track(sorted(groups, key=lambda index: without[index]), "Dropping blocks"):
        trial = scorer.score(left.units - groups[index], left)
        if base_loss - trial.scores.loss.mean() >= least:
            left = trial
    return left.units


def _rows(
    scorer: AblationScorer, none: Pass, whole: Pass, smallest: frozenset[Unit] | None, draws: int
) -> Iterator[dict[str, Any]]:
    groups = _groups(scorer.ablation)

    def row(active: str, units: Collection[Unit], like: Pass | None = None) -> dict[str, Any]:
        return _row(active, scorer.score(units, like).scores, none, whole)

    yield _row("none", none.scores, none, whole) | {"blocks": []}
    yield _row("all", whole.scores, none, whole) | {"blocks": _numbers(whole.units)}
    for index, units in track([*groups.items()], "Switching blocks"):
        place: dict[str, Any] = {"block": index + 1 if index != OUTSIDE else None}
        numbers = _numbers(units)
        place |= {"blocks": numbers} if len(numbers) > 1 else {}
        rest = whole.units - units
        yield row("this block alone", units, none) | place
        yield row("all but this block", rest, whole) | place
    for kind in _KINDS:
        units = frozenset(unit for unit in whole.units if unit.part == kind)
        if units and units != whole.units:
            yield row("this kind alone", units) | {"kind": kind}
            yield row("all but this kind", whole.units - units) | {"kind": kind}
    if smallest:
        found: dict[str, Any] = row("smallest set", smallest) | {"blocks": _numbers(smallest)}
        size = sum(units <= smallest for units in groups.values())
        sets = _random_sets(groups, size, draws)
        others = [row("random set", units) | {"blocks": _numbers(units)} for units in sets]
        yield found | {"p": p_value(found["gain"], [other["gain"] for other in others])}
        yield from others


def _random_update_rows(  # noqa: PLR0913  # a run, and what its rows are compared with
    run: TrainedModel,
    base: BaseModel,
    scorer: AblationScorer,
    none: Pass,
    whole: Pass,
    draws: int,
) -> list[dict[str, Any]]:
    """Return one row per random update; none if the start of what was trained is unknown."""
    rows = []
    try:
        for seed in track(range(draws), "Random updates"):
            with open_random_update(run, base, seed) as model:
                rows.append(_row("random update", scorer.score_model(model), none, whole))
    except NotApplicable:
        return []
    return rows


def _row(active: str, scores: Scores, none: Pass, whole: Pass) -> dict[str, Any]:
    return {"active": active} | _values(scores, none.scores, whole.scores)


def _values(scores: Scores, base: Scores, run: Scores) -> dict[str, Any]:
    gain = base.loss - scores.loss  # (n,)
    whole = (base.loss - run.loss).mean()
    interval = ratio_interval(gain, np.ones(len(gain)), np.random.default_rng(0))
    return {
        "loss": scores.loss.mean(),
        "gain": gain.mean(),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "gain_share": gain.mean() / whole if whole > 0 else None,
        "label_loss": None if scores.label_loss is None else scores.label_loss.mean(),
        "accuracy": None if scores.correct is None else scores.correct.mean(),
        "kl": scores.kl.mean(),
        "n_items": len(gain),
    }


def _numbers(units: Collection[Unit]) -> list[int]:
    """Return the numbers of the blocks, counted from 1; 0 for what is outside of them."""
    return sorted({unit.block + 1 for unit in units})


def _random_sets(
    groups: dict[int, frozenset[Unit]], size: int, draws: int
) -> Iterator[frozenset[Unit]]:
    rng = np.random.default_rng(0)
    for _ in range(draws):
        chosen = rng.choice([*groups], size, replace=False)
        yield frozenset().union(*(groups[int(index)] for index in chosen))

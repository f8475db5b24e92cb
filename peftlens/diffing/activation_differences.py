"""Activation differences: the mean change of the residual stream by tuning, after each block.

δ_l is the mean over texts and their first positions of h_l of the tuned model minus h_l of the
base. On texts that have nothing to do with the training, it shows what the training was about.
Source: Minder et al. 2025, arXiv:2510.13900. A text's first token is left out, because its massive
activations dominate every mean.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import nn

from peftlens.adapters.checkpoint import open_run
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.hidden_states import text_blocks, text_rows, text_states
from peftlens.diffing.random_updates import open_random_update
from peftlens.diffing.text_sources import general_texts, own_texts, task_texts
from peftlens.errors import require
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

_MOST_LAYERS = 32  # blocks of deeper models that are read: costs and tests grow with them

Rows = Sequence[TokenizedAnswer]


@dataclass(frozen=True, kw_only=True)
class DifferenceOptions:
    """Options of the probes that read activation differences as words.

    Attributes:
        texts: file with texts of your own, one a line; empty for none.
        training_text: file with the training text, one a line, to whose words the raised words are
            compared; empty for the text of the run's task.
        items: number of texts of each kind.
        positions: number of positions that are averaged, after the first.
        random_updates: number of random updates of equal norm.
    """

    texts: str = ""
    training_text: str = ""
    items: int = 250
    positions: int = 5
    random_updates: int = 5

    def require_valid(self) -> None:
        """Refuse numbers that are too small.

        Raises:
            InputError: such a number; the message names it.
        """
        for name, least in (("items", 1), ("positions", 1), ("random_updates", 0)):
            require(name, getattr(self, name), least)


@dataclass(frozen=True)
class ActivationDifference:
    """Mean change of the stream on texts of one kind, for L blocks.

    Attributes:
        delta: δ of each block, float32, shape (L, d).
        stream_norm: mean length of the base's states ‖h‖, shape (L,).
        n_texts: number of texts.
        n_positions: number of positions.
    """

    delta: torch.Tensor
    stream_norm: torch.Tensor
    n_texts: int
    n_positions: int


def layers_read(base: BaseModel) -> list[int]:
    """Return the indices of the blocks that are read: all, or 32 of a deeper model."""
    return spaced(range(len(text_blocks(base))), _MOST_LAYERS)


def spaced(numbers: Sequence[int], most: int) -> list[int]:
    """Pick at most so many numbers at equal distances, the last among them."""
    count = min(len(numbers), most)
    return [numbers[round((at + 1) * len(numbers) / count) - 1] for at in range(count)]


def texts_read(
    run: TrainedModel, base: BaseModel, *, items: int, positions: int, own: str = ""
) -> dict[str, Rows]:
    """Return the rows of each kind of text, cut behind the positions that are read.

    Args:
        run: a run, whose task gives the kind "task" if it is known.
        base: its base model.
        items: number of texts of each kind.
        positions: number of positions after the first.
        own: path of a file with texts, one a line, the kind "own"; empty for none.

    Raises:
        InputError: see `own_texts`.
    """
    texts = {"general": general_texts(items)}
    if run.task is not None:
        texts["task"] = task_texts(run, items)
    if own:
        texts["own"] = own_texts(own)[:items]
    # causal attention sees nothing behind, and the collator drops the last token
    collator = Collator.of(base, positions + 2)
    return {
        kind: [replace(row, answer=row.answer[: positions + 2]) for row in text_rows(collator, one)]
        for kind, one in texts.items()
    }


def activation_differences(
    run: TrainedModel,
    base: BaseModel,
    texts: Mapping[str, Rows],
    opened: AbstractContextManager[nn.Module] | None = None,
) -> dict[str, ActivationDifference]:
    """Measure the activation difference on each kind of text.

    Args:
        run: a run.
        base: its base model.
        texts: rows of each kind; see `texts_read`.
        opened: context that attaches the tuned model to the base; by default the run itself.

    Raises:
        NotApplicable: no text is long enough, the states are the base's.
    """
    before = {kind: _base_means(base, rows) for kind, rows in texts.items()}
    with opened or open_run(run, base) as model:
        after = {kind: _means(model, base, rows).mean for kind, rows in texts.items()}
    found = {
        kind: ActivationDifference(
            (after[kind] - one.mean).float(), one.norm.float(), len(texts[kind]), one.n
        )
        for kind, one in before.items()
    }
    if not any(one.delta.any() for one in found.values()):
        raise NotApplicable("the states after the blocks are the base's own")
    return found


def random_differences(
    run: TrainedModel, base: BaseModel, rows: Rows, draws: int
) -> list[torch.Tensor]:
    """Measure δ, shape (L, d), of random updates as large as the run's; cached.

    Empty where there are none, because the start of a trained tensor is unknown.

    Args:
        run: a run.
        base: its base model.
        rows: texts that are read.
        draws: number of random updates.
    """

    def compute() -> list[torch.Tensor]:
        mean = _base_means(base, rows).mean
        found = []
        try:
            for seed in track(range(draws), "Random updates"):
                with open_random_update(run, base, seed) as model:
                    found.append((_means(model, base, rows).mean - mean).float())
        except NotApplicable:
            return []
        return found

    key = (run, run.id, draws, _digest(rows))
    return base.derived("random differences", compute, key=key)


@dataclass(frozen=True)
class _Means:
    """Means over n positions: of the states (L, d) and of their lengths (L,), float64."""

    mean: torch.Tensor
    norm: torch.Tensor
    n: int


def _base_means(base: BaseModel, rows: Rows) -> _Means:
    def compute() -> _Means:
        with restored_after(base.model) as model:
            return _means(model, base, rows)

    return base.derived("mean states", compute, key=_digest(rows), most=8)


def _means(model: nn.Module, base: BaseModel, rows: Rows) -> _Means:
    read = layers_read(base)
    total, lengths, n = torch.zeros(()), torch.zeros(()), 0
    for places, states in text_states(model, base, rows):
        chosen = states[read].double().cpu()  # (L, positions, d)
        total, lengths = total + chosen.sum(dim=1), lengths + chosen.norm(dim=2).sum(dim=1)
        n += len(places)
    if not n:
        raise NotApplicable("no text has a token at the positions that are read")
    return _Means(total / n, lengths / n, n)


def _digest(rows: Rows) -> str:
    return sha256(repr([(row.prompt, row.answer) for row in rows]).encode()).hexdigest()

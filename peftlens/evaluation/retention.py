"""How well a model still does what nobody trained it for: the base's scores and a run's.

A suite is a task of which only the test split is read. A text is scored by the loss of its tokens,
and by how far the run's predictions have moved from the base's, KL(base || tuned); a question by
the answer that is chosen. The base's scores are computed once per base and data, and kept on disk
under a key that holds all they depend on.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Collator, TokenizedExample, scoring_batches
from peftlens.data.task import Kind
from peftlens.errors import InputError
from peftlens.evaluation.log_likelihood import answer_states, choose
from peftlens.io.files import cache_dir, canonical_json, sha256_text, write_atomic
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import versions
from peftlens.tasks import load_task

SUITES = ("wiki", "piqa", "openbookqa", "commonsenseqa")
MAX_LENGTH = 256  # tokens of a text; the longest line of wiki has fewer
_VERSION = 2  # of what is kept on disk
_AT_ONCE = 256  # tokens whose two distributions over the vocabulary are compared at a time


@dataclass(frozen=True)
class Suite:
    """What is asked.

    Attributes:
        name: as the user gave it.
        kind: texts (language_modeling), or questions with answers to choose from.
        items: as token ids.
        sha256: of the data, and how many of them are asked.
    """

    name: str
    kind: Kind
    items: tuple[TokenizedExample, ...]
    sha256: str

    @property
    def texts(self) -> bool:
        """Whether tokens are predicted, and nothing is chosen."""
        return self.kind == "language_modeling"


@dataclass(frozen=True)
class Scores:
    """What a model makes of a suite's n items.

    Attributes:
        loss: of a text, summed over its tokens; of a question's right answer, per token; nats (n,).
        tokens: that the loss was summed over; 1 for a question, shape (n,).
        right: whether the answer of highest log-probability is right, 0 or 1 (n,); None for texts.
        right_per_byte: the same by log-probability per byte of the answer.
        token_loss: loss of every token of the texts, one text after the other, nats; None for
            questions.
        kl: KL(base || tuned), summed over a text's tokens, nats (n,); None for questions, and where
            the base does more than multiply behind its last hidden states.
    """

    loss: NDArray[np.float64]
    tokens: NDArray[np.int64]
    right: NDArray[np.float64] | None = None
    right_per_byte: NDArray[np.float64] | None = None
    token_loss: NDArray[np.float64] | None = None
    kl: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Reference:
    """The base's scores, and what its predictions for the suite's texts can be made of again.

    Attributes:
        states: what its head read for every token, shape (t, d); None for questions.
        head: weight (V, d) and bias (V,) or None; None as `states` is, or if they are not all that
            the base's logits are made of.
    """

    scores: Scores
    states: torch.Tensor | None = None
    head: tuple[torch.Tensor, torch.Tensor | None] | None = None


def suite(base: BaseModel, name: str, options: dict[str, Any], most: int | None) -> Suite:
    """The test split of a task, or its first items; the order was drawn by the split's own seed.

    Args:
        base: whose tokenizer reads the texts.
        name: a task, file:PATH or hub:org/name.
        options: of the task.
        most: items at most; None takes all.

    Raises:
        InputError: no such task, or nothing of it can be used.
    """
    task = load_task(name, options)
    encoder = Collator.of(base, MAX_LENGTH)
    items, reasons = [], Counter()
    for example in task.splits["test"][:most]:
        try:
            found, left_out = encoder.items([example])
        except (
            InputError
        ) as error:  # an answer longer than the model's context costs that item only
            found, left_out = [], {str(error): 1}
        items += found
        reasons.update(left_out)
    if not items:
        raise InputError(
            f"retention suite {name!r} has no item that can be scored: {dict(reasons)}"
        )
    return Suite(name, task.kind, tuple(items), sha256_text(f"{task.sha256} {most}"))


def reference(base: BaseModel, asked: Suite) -> Reference:
    """The base's scores: from disk, or computed now with nothing attached to it."""
    file = cache_dir("retention") / f"{_key(base, asked)}.safetensors"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            with restored_after(base.model) as model:
                write_atomic(file, safetensors.torch.save(_reference(model, base, asked)))
    held = safetensors.torch.load_file(file, device=base.device)
    fields = {name: tensor.cpu().numpy() for name, tensor in held.items()
              if name in Scores.__dataclass_fields__}  # fmt: skip
    return Reference(
        Scores(**fields), held.get("states"), _head(base.model) if "plain_head" in held else None
    )


def _key(base: BaseModel, asked: Suite) -> str:
    matters = {
        "base": base.sha256,
        "device": base.device,
        "dtype": base.dtype,
        "threads": torch.get_num_threads(),  # sums are split among them, and round accordingly
        "suite": asked.sha256,
        "versions": versions(),
        "version": _VERSION,
        "max_length": Collator.of(base, MAX_LENGTH).max_length,
    }
    return sha256_text(canonical_json(matters))[:32]


def _reference(model: nn.Module, base: BaseModel, asked: Suite) -> dict[str, torch.Tensor]:
    what = f"The base on {asked.name}, once"
    encoder = Collator.of(base, MAX_LENGTH)
    if not asked.texts:
        return _tensors(_chosen(model, encoder, asked, what))
    states: list[torch.Tensor | None] = [None] * len(asked.items)
    losses: list[Any] = [None] * len(asked.items)
    head, plain = _head(model), True
    for part in _texts(model, encoder, asked, what):
        again = nn.functional.linear(part.states, *head).float() if head else None
        plain = plain and again is not None and torch.allclose(again, part.logits, atol=1e-3)
        for item, own in part.of_items(part.states):
            states[item] = own
        for item, own in part.of_items(part.loss):
            losses[item] = own
    found = _tensors(_from_tokens(losses))
    found["states"] = torch.cat([one for one in states if one is not None]).cpu()
    return found | ({"plain_head": torch.ones(1)} if plain else {})


def _head(model: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """The output head's own tensors: no method writes into them, so they stay what they were."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        return None
    return head.weight.data, None if head.bias is None else head.bias.data


def scores(model: nn.Module, base: BaseModel, asked: Suite, known: Reference) -> Scores:
    """What a model, made of the base, makes of a suite.

    Args:
        model: with whatever was trained attached.
        base: what it was made of.
        asked: the suite.
        known: of the base, for the distance from its predictions.
    """
    what, encoder = f"Scoring {asked.name}", Collator.of(base, MAX_LENGTH)
    if known.states is None:
        return _chosen(model, encoder, asked, what)
    losses: list[Any] = [None] * len(asked.items)
    kl = np.zeros(len(asked.items))
    states = known.states.split([item.rows[0].scored for item in asked.items])
    for part in _texts(model, encoder, asked, what):
        for item, own in part.of_items(part.loss):
            losses[item] = own
        if known.head is not None:
            # the batch of the base again, so that equal models differ by no rounding
            base_logits = nn.functional.linear(
                torch.cat([states[i] for i in part.items]), *known.head
            )
            for item, own in part.of_items(_divergence(base_logits, part.logits)):
                kl[item] = own.sum().item()
    found = _from_tokens(losses)
    return replace(found, kl=None if known.head is None else kl)


@torch.inference_mode()
def _divergence(base: torch.Tensor, tuned: torch.Tensor) -> torch.Tensor:
    """KL(base || tuned) of every token, nats, from two sets of logits (t, V): shape (t,)."""
    found = []
    for one, other in zip(base.split(_AT_ONCE), tuned.split(_AT_ONCE), strict=True):
        p, q = one.float().log_softmax(dim=-1), other.log_softmax(dim=-1)
        found.append((p.exp() * (p - q)).sum(dim=-1))
    return torch.cat(found)


@dataclass(frozen=True)
class _Part:
    """A batch of texts: items, their numbers of tokens, and what every token got, (tokens, ...)."""

    items: list[int]
    lengths: list[int]
    states: torch.Tensor
    logits: torch.Tensor
    loss: torch.Tensor

    def of_items(self, values: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        yield from zip(self.items, values.split(self.lengths), strict=True)


@torch.inference_mode()
def _texts(model: nn.Module, encoder: Collator, asked: Suite, what: str) -> Iterator[_Part]:
    rows = [item.rows[0] for item in asked.items]
    for indices in track(list(scoring_batches(rows, encoder.at_once)), what):
        batch = encoder.batch([rows[index] for index in indices])
        states, logits = answer_states(model, batch)
        loss = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        yield _Part(indices, [rows[i].scored for i in indices], states, logits, loss)


def _from_tokens(losses: list[torch.Tensor]) -> Scores:
    each = [loss.cpu().double().numpy() for loss in losses]
    return Scores(
        loss=np.array([loss.sum() for loss in each]),
        tokens=np.array([len(loss) for loss in each]),
        token_loss=np.concatenate(each),
    )


def _chosen(model: nn.Module, encoder: Collator, asked: Suite, what: str) -> Scores:
    found = choose(model, encoder, asked.items, what)
    return Scores(
        loss=found.loss,
        tokens=np.ones(len(found.loss), np.int64),
        right=(found.by_sum == found.correct).astype(float),
        right_per_byte=(found.by_byte == found.correct).astype(float),
    )


def _tensors(found: Scores) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v) for k, v in asdict(found).items() if v is not None}

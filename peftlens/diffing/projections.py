"""Projections of modules' inputs and outputs on directions, token by token."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.hidden_states import text_rows
from peftlens.diffing.text_sources import general_texts, own_texts, task_texts
from peftlens.models.base_model import BaseModel
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import readable

Float = NDArray[np.float64]
_CONTEXT = 8  # tokens shown before a token


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Directions on which a module's input, or its output, is projected.

    Attributes:
        module: dotted name of the module in the base's model.
        output: whether its output is projected, or its input.
        vectors: directions, shape (d, k).
    """

    module: str
    output: bool
    vectors: Float


def contrast_rows(
    run: TrainedModel, base: BaseModel, *, texts: str, task_items: int, general_items: int
) -> dict[str, list[TokenizedAnswer]]:
    """Tokenize text of a run's task and general text: by `task` and `general`.

    Args:
        run: a run.
        base: its base model.
        texts: file with texts, one a line, in place of the task's; empty for the task's. An adapter
            whose task is unknown has no task text without it.
        task_items: number of texts of the task.
        general_items: number of general texts.

    Raises:
        InputError: see `own_texts`.
    """
    collator = Collator.of(base, run.config.training.sequence_length)
    rows = {"general": text_rows(collator, general_texts(general_items))}
    if texts:
        return {"task": text_rows(collator, own_texts(texts)[:task_items])} | rows
    if run.task is None:
        return rows
    return {"task": text_rows(collator, task_texts(run, task_items))} | rows


@torch.inference_mode()
def projections(
    model: nn.Module,
    base: BaseModel,
    rows: Sequence[TokenizedAnswer],
    sides: Mapping[Any, Projected],
) -> tuple[list[tuple[int, int]], dict[Any, NDArray[np.float32]]]:
    """Project every token of texts but the first of each on directions.

    Args:
        model: the base's model, or a tuned one attached to it.
        base: the base model.
        rows: tokenized texts.
        sides: directions by a key of the caller's.

    Returns:
        The row and position of each token, and by key the projections, shape (tokens, k); modules
        that the model never calls as such, like the experts of a mixture, are left out.
    """
    collator = Collator.of(base, 1)  # the rows are tokenized already
    places: list[tuple[int, int]] = []
    parts: dict[Any, list[NDArray[np.float32]]] = {key: [] for key in sides}
    for indices in scoring_batches(rows, collator.at_once):
        batch = collator.batch([rows[index] for index in indices])
        read = batch.inputs["attention_mask"].bool()  # (batch, seq)
        read[:, 0] = False  # whose activations are massive: Sun et al. 2024, arXiv:2402.17762
        with _recorded(base.model, sides, read, parts):
            model(**batch.inputs)
        places += [(indices[row], position) for row, position in read.nonzero().tolist()]
    done = {key: np.concatenate(one) for key, one in parts.items() if one}
    return places, done


@contextmanager
def _recorded(
    model: nn.Module,
    sides: Mapping[Any, Projected],
    read: torch.Tensor,
    parts: dict[Any, list[NDArray[np.float32]]],
) -> Iterator[None]:
    """Add the projections at marked positions to `parts` during a forward pass."""
    handles = []
    for key, side in sides.items():
        vectors = torch.from_numpy(np.ascontiguousarray(side.vectors)).float().to(read.device)

        def record(
            _: nn.Module, args: Any, output: Any, key=key, vectors=vectors, side=side
        ) -> None:
            states = output if side.output else args[0]
            states = states[0] if isinstance(states, tuple) else states
            states = states.reshape(len(read), -1, states.shape[-1])  # (batch, virtual + seq, d)
            chosen = states[:, -read.shape[1] :][read].float()  # (tokens, d)
            parts[key].append((chosen @ vectors).cpu().numpy())

        handles.append(model.get_submodule(side.module).register_forward_hook(record))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def auc(one: ArrayLike, other: ArrayLike) -> Float:
    """Area under the ROC curve: the probability that a value of `one` is above one of `other`.

    Args:
        one: shape (n, k).
        other: shape (m, k).

    Returns:
        Shape (k,); 0.5 for equal distributions.

    Source: Hanley & McNeil 1982, Radiology 143(1), by ranks.
    """
    first, second = np.asarray(one, float), np.asarray(other, float)
    ranks = rankdata(np.concatenate([first, second]), axis=0)[: len(first)].sum(axis=0)
    n, m = len(first), len(second)
    return (ranks - n * (n + 1) / 2) / (n * m)


def hoyer(values: ArrayLike) -> Float:
    """Sparseness of each column: 0 if all entries are of equal size, 1 if a single one is not 0.

    Args:
        values: shape (n, k).

    Source: Hoyer 2004, JMLR 5, 1457-1469, section 3.1.
    """
    sizes = np.abs(np.asarray(values, float))
    root = np.sqrt(len(sizes))
    longest = np.maximum(np.linalg.norm(sizes, axis=0), 1e-300)
    return (root - sizes.sum(axis=0) / longest) / (root - 1)


def in_context(base: BaseModel, row: TokenizedAnswer, position: int) -> tuple[str, str]:
    """Return a token as text, and the text before it."""
    ids = (*row.prompt, *row.answer)
    shown = [
        readable(base.tokenizer, one) for one in ids[max(0, position - _CONTEXT) : position + 1]
    ]
    return shown[-1], "".join(shown[:-1])


def random_directions(width: int, count: int, rng: np.random.Generator) -> Float:
    """Draw directions, orthonormal as far as the width allows, shape (width, count)."""
    blocks = []
    for start in range(0, count, width):
        noise = rng.normal(size=(width, min(width, count - start)))
        blocks.append(np.linalg.qr(noise)[0])
    return np.concatenate(blocks, axis=1)


def standardized_p(statistics: Sequence[Float], counts: Sequence[int]) -> Float:
    """Compare directions with random ones, which differ in scale from module to module.

    Each statistic is taken in standard deviations of its own module's random directions, from their
    mean; those of all modules together are the null.

    Args:
        statistics: for each module, the statistics of its directions and of its random ones.
        counts: number of directions of each module, which come first.

    Returns:
        One-sided p of all directions, in order.
    """
    own, null = [], []
    for values, count in zip(statistics, counts, strict=True):
        random = values[count:]
        z = (values - random.mean()) / max(random.std(ddof=1), 1e-12)
        own.append(z[:count])
        null.append(z[count:])
    drawn = np.sort(np.concatenate(null))
    above = len(drawn) - np.searchsorted(drawn, np.concatenate(own), side="left")
    return (1 + above) / (1 + len(drawn))

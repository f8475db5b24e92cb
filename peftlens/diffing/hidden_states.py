"""Hidden states after each block, for the same tokens in the base and in a tuned model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.head_tokenization import HeadTokenizer
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.models.architecture import blocks, has_encoder
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable

# Without the first token, whose massive activations (Sun et al. 2024, arXiv:2402.17762) dominate
# every mean.
AFTER_FIRST = slice(1, None)


def text_blocks(base: BaseModel) -> list[str]:
    """Return the names of the blocks that read a text: those of an encoder-decoder's encoder."""
    names = blocks(base.shapes)
    if not has_encoder(base.shapes):
        return names
    return [name for name in names if "encoder" in name]


def require_decoder_only(base: BaseModel) -> None:
    """Refuse a model whose states no output head reads as tokens.

    Raises:
        NotApplicable: the base is an encoder-decoder.
        NotLanguageModelError: the base is an encoder, or has a head for a task.
    """
    base.require_text()
    if has_encoder(base.shapes):
        raise NotApplicable("the base is an encoder-decoder: no head reads its encoder's states")


def text_rows(collator: Collator, texts: Sequence[str]) -> list[TokenizedAnswer]:
    """Tokenize whole texts, cut to the collator's maximum length.

    An encoder gets the text as the prompt, a decoder as the answer; a model with a head, or an
    encoder alone, the text with the tokenizer's special tokens, as in its training.
    """
    tokenizer = collator.example_tokenizer
    if isinstance(tokenizer, HeadTokenizer):
        return [tokenizer.text_row(text) for text in texts]
    examples = [
        Example(text, (".",), 0) if collator.seq2seq else Example("", (text,), 0) for text in texts
    ]
    return [item.rows[0] for item in collator.items(examples)[0]]


@contextmanager
def recorded(
    model: nn.Module, names: Sequence[str], positions: torch.Tensor
) -> Iterator[list[torch.Tensor]]:
    """Collect blocks' outputs at marked positions of the text during forward passes.

    Virtual tokens in front of the text are left out: positions count from the end.

    Args:
        model: the base's model, whose modules the tuned model shares.
        names: dotted names of the blocks.
        positions: bool, shape (batch, seq).

    Yields:
        A list that grows by one tensor per block, (marked positions, d), in order of the blocks.
    """
    states: list[torch.Tensor] = []

    def record(_: nn.Module, __: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output  # (batch, seq, d)
        states.append(hidden[:, -positions.shape[1] :][positions])

    handles = [model.get_submodule(name).register_forward_hook(record) for name in names]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def text_states(
    model: nn.Module,
    base: BaseModel,
    rows: Sequence[TokenizedAnswer],
    *,
    positions: slice = AFTER_FIRST,
    max_tokens: int | None = None,
) -> Iterator[tuple[list[tuple[int, int]], torch.Tensor]]:
    """Yield the hidden states of texts batch by batch, in the same order for every model.

    Args:
        model: the base's model, or a tuned one attached to it.
        base: the base model.
        rows: tokenized texts; see `text_rows`.
        positions: positions of the text that are read.
        max_tokens: number of positions after which no further batch is read.

    Yields:
        The row and position of each state, and the states, shape (blocks, positions, d).
    """
    collator = Collator.of_states(base, 1)  # the rows are tokenized already
    names = text_blocks(base)
    total = 0
    for indices in scoring_batches(rows, collator.at_once):
        batch = collator.batch([rows[index] for index in indices])
        read = batch.inputs["attention_mask"].bool()  # (batch, seq)
        chosen = torch.zeros_like(read)
        chosen[:, positions] = True
        read &= chosen
        if not read.any():
            continue
        with recorded(base.model, names, read) as states:
            model(**batch.inputs)
        places = [(indices[row], position) for row, position in read.nonzero().tolist()]
        yield places, torch.stack(states)
        total += len(places)
        if max_tokens is not None and total >= max_tokens:
            return


def mean_states(
    model: nn.Module,
    base: BaseModel,
    rows: Sequence[TokenizedAnswer],
    positions: slice = AFTER_FIRST,
) -> tuple[torch.Tensor, int]:
    """Average the hidden states over positions: float64, shape (blocks, d), and their number.

    Args:
        model: the base's model, or a tuned one attached to it.
        base: the base model.
        rows: tokenized texts.
        positions: positions of the text that are read.

    Raises:
        NotApplicable: no text has a token at these positions.
    """
    total, n = None, 0
    for places, states in text_states(model, base, rows, positions=positions):
        part = states.double().sum(dim=1).cpu()  # (blocks, d)
        total, n = part if total is None else total + part, n + len(places)
    if total is None:
        raise NotApplicable("no text has a token at the positions that are read")
    return total / n, n

"""Log-probabilities of answers, and the loss that training minimizes.

The output head is applied only where the loss is. A slice of the hidden states would be slower than
all logits in bfloat16 (it becomes a batched product that copies the head's weight for each row), so
the states are gathered to two dimensions first; a hook on the head does this for any model and any
method, whatever wraps them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import (
    Batch,
    Collator,
    TokenizedAnswer,
    TokenizedExample,
    length,
    scoring_batches,
)
from peftlens.io.progress import track

SAVED = 3  # times the tokens, that reading a prompt once for all its answers must save to pay


@contextmanager
def _gathered(model: nn.Module, scored: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """The head sees only the scored positions, as (n, d); a list that will hold these.

    Soft prompts lengthen the hidden states in front; positions count from the end.
    """
    seen: list[torch.Tensor] = []

    def gather(_: nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        states = args[0][:, -scored.shape[1] :]
        seen.append(states[scored.to(states.device)])  # another one, if the base lies on several
        return seen[-1]

    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    handle = head.register_forward_pre_hook(gather)
    try:
        yield seen
    finally:
        handle.remove()


def answer_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits (n, V) in float32 at the batch's scored positions, n = number of targets."""
    return answer_states(model, batch)[1]


def answer_states(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads at the scored positions, (n, d), and its logits (n, V) in float32."""
    with _gathered(model, batch.scored) as states:
        # a cache that nobody reads behind copies the keys and values of every layer
        logits = model(**batch.inputs, use_cache=False).logits.float()
    return states[0], logits


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Summed cross-entropy of the answers' tokens, nats, float32.

    Divided by the number of targets it is the loss that transformers computes from `labels`.
    """
    return nn.functional.cross_entropy(answer_logits(model, batch), batch.targets, reduction="sum")


@torch.inference_mode()
def log_probabilities(
    model: nn.Module, encoder: Collator, rows: Sequence[TokenizedAnswer], description: str
) -> NDArray[np.float64]:
    """Log-probability of each row's answer given its prompt, nats, summed over tokens.

    Candidate answers that differ only in their last token share one forward pass, as single-token
    labels do.
    """
    shared: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        # where the prompt ends matters too: it decides which positions are scored
        shared.setdefault((len(row.prompt), *row.prompt, *row.answer[:-1]), []).append(index)
    groups = list(shared.values())
    firsts = [rows[group[0]] for group in groups]
    sums = np.zeros(len(rows))
    for indices in track(list(scoring_batches(firsts, encoder.at_once)), description):
        batch = encoder.batch([firsts[index] for index in indices])
        logs = answer_logits(model, batch).log_softmax(dim=-1)
        ends = np.cumsum([firsts[index].scored for index in indices])
        for index, end in zip(indices, ends, strict=True):
            first = firsts[index]
            own = logs[end - first.scored : end]
            for member in groups[index]:
                targets = torch.tensor(rows[member].answer[-first.scored :], device=own.device)
                sums[member] = own.gather(1, targets[:, None]).cpu().double().sum().item()
    return sums


@dataclass(frozen=True)
class Choices:
    """Which answer the model prefers for each item, by two scores.

    Attributes:
        correct: index of the right answer, shape (n,).
        by_sum: index of the answer with the highest summed log-probability (lm-eval's `acc`).
        by_byte: the same per UTF-8 byte of the answer (lm-eval's `acc_norm`).
        loss: negative log-probability of the right answer per token, nats.
    """

    correct: NDArray[np.int64]
    by_sum: NDArray[np.int64]
    by_byte: NDArray[np.int64]
    loss: NDArray[np.float64]


def choose(
    model: nn.Module,
    encoder: Collator,
    items: Sequence[TokenizedExample],
    description: str = "Scoring",
) -> Choices:
    """Score every candidate answer of every item in full; ties go to the first."""
    rows = [row for item in items for row in item.rows]
    if _shares_prompts(model, encoder, items):
        sums = _behind_prompts(model, encoder, items, description)
    else:
        sums = log_probabilities(model, encoder, rows, description)
    by_sum, by_byte, loss = [], [], []
    start = 0
    for item in items:
        scores = sums[start : start + len(item.rows)]
        start += len(item.rows)
        by_sum.append(int(scores.argmax()))
        by_byte.append(int((scores / np.array(item.answer_bytes)).argmax()))
        loss.append(-scores[item.correct] / item.rows[item.correct].scored)
    correct = [item.correct for item in items]
    return Choices(np.array(correct), np.array(by_sum), np.array(by_byte), np.array(loss))


def _shares_prompts(model: nn.Module, encoder: Collator, items: Sequence[TokenizedExample]) -> bool:
    """Whether to read each prompt once, for all its answers.

    It must save most of the tokens to pay: two short batches, of prompts and of answers, take the
    place of a full one. Answers of one token need no second reading, an encoder-decoder reads its
    prompt elsewhere, and a method sets `reads_whole_rows` where a position's place in the row
    matters to it.
    """
    rows = [row for item in items for row in item.rows]
    longer = any(len(row.answer) > 1 and row.prompt for row in rows)
    once = sum(len(item.rows[0].prompt) for item in items) + sum(len(row.answer) for row in rows)
    if sum(map(length, rows)) < SAVED * once:
        return False
    return longer and not encoder.seq2seq and not getattr(model, "reads_whole_rows", False)


@torch.inference_mode()
def _behind_prompts(
    model: nn.Module, encoder: Collator, items: Sequence[TokenizedExample], description: str
) -> NDArray[np.float64]:
    """Log-probability of every answer, nats, items one after the other.

    Each prompt is read once; its answers are read behind the keys and values that it left. Prompts
    of one batch have one length, so that no padding stands between a prompt and its answer.
    """
    sums = [np.zeros(len(item.rows)) for item in items]
    for indices in track(list(_of_equal_prompts(items, encoder.at_once)), description):
        prompts = torch.tensor([items[i].rows[0].prompt for i in indices], device=encoder.device)
        last = torch.zeros_like(prompts, dtype=torch.bool)
        last[:, -1] = True
        with _gathered(model, last):
            read = model(input_ids=prompts, attention_mask=torch.ones_like(prompts), use_cache=True)
        first = read.logits.float().log_softmax(dim=-1).cpu()  # (items, V)
        answers = [(n, i, k) for n, i in enumerate(indices) for k in range(len(items[i].rows))]
        for n, i, k in answers:
            sums[i][k] = first[n, items[i].rows[k].answer[0]].item()
        longer = [one for one in answers if len(items[one[1]].rows[one[2]].answer) > 1]
        if longer:
            cache = read.past_key_values
            cache.batch_select_indices(
                torch.tensor([n for n, _, _ in longer], device=encoder.device)
            )
            texts = [items[i].rows[k].answer for _, i, k in longer]
            for (_, i, k), rest in zip(longer, _rest(model, encoder, cache, texts), strict=True):
                sums[i][k] += rest
    return np.concatenate(sums)


def _rest(
    model: nn.Module, encoder: Collator, cache: Any, answers: list[tuple[int, ...]]
) -> Iterator[float]:
    """Log-probability of each answer without its first token, behind the cache of its prompt."""
    ids, there = encoder.pad([[*answer[:-1]] for answer in answers])
    ids, there = ids.to(encoder.device), there.to(encoder.device)
    mask = ids.new_ones(len(ids), cache.get_seq_length() + ids.shape[1])
    inner: Any = model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        inner = inner.get_base_model()  # the prompt is in the cache
    with _gathered(model, there):
        logits = inner(input_ids=ids, attention_mask=mask, past_key_values=cache).logits
    targets = torch.tensor([t for answer in answers for t in answer[1:]], device=logits.device)
    logs = logits.float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].cpu().double()
    for part in logs.split([len(answer) - 1 for answer in answers]):
        yield part.sum().item()


def _of_equal_prompts(items: Sequence[TokenizedExample], most: int) -> Iterator[list[int]]:
    """Indices of items whose prompts have one length, at most so many tokens together."""
    by_length: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        by_length.setdefault(len(item.rows[0].prompt), []).append(index)
    for common, indices in sorted(by_length.items()):
        batch, tokens = [], 0
        for index in indices:
            more = common + sum(len(row.answer) for row in items[index].rows)
            if batch and tokens + more > most:
                yield batch
                batch, tokens = [], 0
            batch.append(index)
            tokens += more
        yield batch

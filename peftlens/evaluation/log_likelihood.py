"""Log-probabilities of candidate answers, and the training loss.

The output head is applied at scored positions only. In bfloat16, a slice of the hidden states would
be slower than all logits (it becomes a batched product that copies the head's weight for each row).
The states are therefore gathered to two dimensions first, by a hook on the head that works for any
model and method, whatever wraps them.

Answers are compared by logits in float32: a bfloat16 logit of 16 is rounded to multiples of 0.125,
and 2 % of the items of a task would be exact ties. The head's weights are therefore copied to
float32 once per scoring call. What the model does with its logits (soft caps, scales) follows in
float32 by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.data.collate import Batch, Collator, length, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.evaluation.head_scores import head_loss, head_outputs
from peftlens.io.progress import track
from peftlens.layers.shared_prompt import prompt_computed_once

SAVED = 3  # least reduction factor of tokens that makes a shared pass of each prompt faster


@contextmanager
def _gathered(model: nn.Module, scored: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Restrict the head's input to the scored positions, and collect that input in a list.

    Soft prompts lengthen the hidden states at the front, so positions count from the end.
    """
    seen: list[torch.Tensor] = []  # (n, d) per forward pass

    def gather(_: nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        states = args[0][:, -scored.shape[1] :]  # (batch, seq, d)
        # the head may be on another device than the inputs if the base is on several
        seen.append(states[scored.to(states.device)])  # (n, d)
        return seen[-1]

    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    handle = head.register_forward_pre_hook(gather)
    try:
        yield seen
    finally:
        handle.remove()


# by the address of a weight: the weight, which the entry keeps alive, and its float32 copy
Copies = dict[int, tuple[torch.Tensor, nn.Parameter]]


@contextmanager
def float32_head(model: nn.Module, copies: Copies | None = None) -> Iterator[None]:
    """Let the head compute in float32 from its input: its weights are copied until the exit.

    The copy of a tied weight leaves the embeddings as they are. Quantized weights stay quantized.

    Args:
        model: any model with a head.
        copies: copies that are kept for later calls, for weights that nobody changes in place.
    """
    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    rounded = [
        (module, name, parameter)
        for module in head.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype in (torch.bfloat16, torch.float16)
    ]
    if not rounded:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, args: (args[0].float(), *args[1:]))
    try:
        for module, name, parameter in rounded:
            setattr(module, name, _float32(parameter, {} if copies is None else copies))
        yield
    finally:
        handle.remove()
        for module, name, parameter in rounded:
            setattr(module, name, parameter)


def _float32(parameter: nn.Parameter, copies: Copies) -> nn.Parameter:
    weight = parameter.detach()
    if weight.data_ptr() not in copies:
        copy = nn.Parameter(weight.float(), requires_grad=False)
        copies[weight.data_ptr()] = weight, copy
    return copies[weight.data_ptr()][1]


def answer_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute float32 logits (n, V) at the batch's scored positions, n = number of targets."""
    return answer_states(model, batch)[1].float()


def answer_states(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the head's input (n, d) and its logits (n, V) at the scored positions."""
    tokens = batch.inputs["input_ids"].shape[1]
    with _gathered(model, batch.scored) as states, prompt_computed_once(model, tokens):
        # an unused cache would copy the keys and values of every layer
        logits = model(**batch.inputs, use_cache=False).logits
    return states[0], logits


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the cross-entropy of the answers' tokens, summed, nats, float32.

    Divided by the number of targets, it equals the loss that transformers computes from `labels`.
    """
    return nn.functional.cross_entropy(answer_logits(model, batch), batch.targets, reduction="sum")


def loss_of(collator: Collator) -> Callable[[nn.Module, Batch], torch.Tensor]:
    """Return the function of a batch's summed loss: of the answers' tokens, or of a new head."""
    return head_loss if collator.has_head else answer_loss


@torch.inference_mode()
def log_probabilities(
    model: nn.Module, encoder: Collator, rows: Sequence[TokenizedAnswer], description: str
) -> NDArray[np.float64]:
    """Compute the log-probability of each row's answer given its prompt, nats, summed over tokens.

    Candidate answers that differ only in their last token, such as single-token labels, share one
    forward pass.
    """
    shared: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        # the key includes the prompt length, which decides the scored positions
        key = (len(row.prompt), *row.prompt, *row.answer[:-1], *(row.mask or ()))
        shared.setdefault(key, []).append(index)
    groups = list(shared.values())
    firsts = [rows[group[0]] for group in groups]
    sums = np.zeros(len(rows))
    for indices in track(list(scoring_batches(firsts, encoder.at_once)), description):
        batch = encoder.batch([firsts[index] for index in indices])
        logs = answer_logits(model, batch).log_softmax(dim=-1)  # (n, V)
        ends = np.cumsum([firsts[index].scored for index in indices])
        for index, end in zip(indices, ends, strict=True):
            first = firsts[index]
            answer_logs = logs[end - first.scored : end]  # (answer tokens, V)
            for member in groups[index]:
                targets = torch.tensor(rows[member].targets, device=logs.device)
                chosen = answer_logs.gather(1, targets[:, None])  # (answer tokens, 1)
                sums[member] = chosen.cpu().double().sum().item()
    return sums


@dataclass(frozen=True)
class Choices:
    """Preferred answer of a model for each of n items, by several scores.

    Attributes:
        correct: index of the right answer, shape (n,).
        by_sum: index of the answer with the highest summed log-probability (lm-eval's `acc`),
            shape (n,).
        by_byte: index of the answer with the highest log-probability per UTF-8 byte (lm-eval's
            `acc_bytes`; its `acc_norm` counts characters), shape (n,).
        calibrated: index of the answer with the highest probability relative to the label's mean
            over the items, see `calibrated_choice`, shape (n,); None unless all items have the same
            answers.
        tied: whether several answers share the highest summed log-probability, shape (n,).
        loss: negative log-probability of the right answer per token, nats, shape (n,).
        label_loss: negative log-probability of the right answer among the item's answers, see
            `label_log_probabilities`, nats, shape (n,).
        predicted: outputs of a head, see `HeadOutputs`; None without a head.
    """

    correct: NDArray[np.int64]
    by_sum: NDArray[np.int64]
    by_byte: NDArray[np.int64]
    calibrated: NDArray[np.int64] | None
    tied: NDArray[np.bool_]
    loss: NDArray[np.float64]
    label_loss: NDArray[np.float64]
    predicted: list[Any] | None = None


def choose(
    model: nn.Module,
    encoder: Collator,
    items: Sequence[TokenizedExample],
    description: str = "Scoring",
) -> Choices:
    """Score every candidate answer of every item in full; of tied answers the first is chosen.

    The head of a language model computes in float32. Classes of a new head are scored by its own
    outputs; so are the tags of words together, and a number by its squared error.
    """
    if encoder.has_head:
        outputs = head_outputs(model, encoder, items, description)
        return replace(_choices(items, outputs.scores), predicted=outputs.predicted)
    with float32_head(model):
        if _shares_prompts(model, encoder, items):
            sums = _score_with_prompt_cache(model, encoder, items, description)
        else:
            rows = [row for item in items for row in item.rows]
            sums = log_probabilities(model, encoder, rows, description)
    return _choices(items, np.split(sums, np.cumsum([len(item.rows) for item in items])[:-1]))


def _choices(items: Sequence[TokenizedExample], scores: Sequence[NDArray[np.float64]]) -> Choices:
    """Compare the answers of each item by their summed log-probabilities, (answers,) each."""
    logs = [label_log_probabilities(one) for one in scores]
    scored = list(zip(items, scores, strict=True))
    return Choices(
        correct=np.array([item.correct for item in items]),
        by_sum=np.array([one.argmax() for one in scores]),
        by_byte=np.array([(one / np.array(item.answer_bytes)).argmax() for item, one in scored]),
        calibrated=calibrated_choice(np.array(logs)) if _share_answers(items) else None,
        tied=np.array([(one == one.max()).sum() > 1 for one in scores]),
        loss=np.array(
            [-one[item.correct] / item.rows[item.correct].scored for item, one in scored]
        ),
        label_loss=np.array([-one[item.correct] for item, one in zip(items, logs, strict=True)]),
    )


def label_log_probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalize log-probabilities of answers, nats, over the last axis: log softmax.

    What remains tells the labels apart; how likely the model finds the format of an answer, such as
    its leading space, is the same for all and cancels.
    """
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def calibrated_choice(logs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose the answer with the highest probability relative to the label's mean over the items.

    A model prefers some labels whatever the input is. Dividing by the preference corrects for that
    (Zhao et al. 2021, arXiv:2102.09690, section 4); here it is estimated without right answers from
    the items themselves (Zhou et al. 2023, arXiv:2309.17249). Classes that differ
    much in frequency are a limit: their share is corrected away, too.

    Args:
        logs: log-probabilities normalized over the labels, nats, shape (items, labels).

    Returns:
        Index of the label, shape (items,).
    """
    prior = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))  # (labels,)
    return (logs - prior).argmax(axis=1)


def _share_answers(items: Sequence[TokenizedExample]) -> bool:
    """Return whether several items have the same answers, in the same order."""
    labels = {tuple(row.answer for row in item.rows) for item in items}
    return len(labels) == 1 and len(items) > 1 and len(items[0].rows) > 1


def _shares_prompts(model: nn.Module, encoder: Collator, items: Sequence[TokenizedExample]) -> bool:
    """Return whether one forward pass of each prompt should serve all its answers.

    This is faster only if it saves most of the tokens, since two short batches (prompts, then
    answers) replace a full one. It does not apply to single-token answers, which need no second
    pass, to encoder-decoders, whose prompt is the encoder's input, to state-space models, which
    cache no keys and values, or to methods that set `reads_whole_rows` because a token's position
    in the row matters to them.
    """
    if encoder.seq2seq or getattr(model, "_is_stateful", False):
        return False
    rows = [row for item in items for row in item.rows]
    longer = any(len(row.answer) > 1 and row.prompt for row in rows)
    once = sum(len(item.rows[0].prompt) for item in items) + sum(len(row.answer) for row in rows)
    if sum(map(length, rows)) < SAVED * once:
        return False
    return longer and not getattr(model, "reads_whole_rows", False)


@torch.inference_mode()
def _score_with_prompt_cache(
    model: nn.Module, encoder: Collator, items: Sequence[TokenizedExample], description: str
) -> NDArray[np.float64]:
    """Compute the log-probability of every answer, nats, in the order of the items.

    Each prompt has one forward pass; its answers follow with the prompt's cached keys and values.
    Prompts of a batch are of equal length, so no padding separates a prompt from its answer.
    """
    sums = [np.zeros(len(item.rows)) for item in items]
    for indices in track(list(_equal_length_batches(items, encoder.at_once)), description):
        ids = [items[i].rows[0].prompt for i in indices]
        prompts = torch.tensor(ids, device=encoder.device)  # (items, seq)
        last = torch.zeros_like(prompts, dtype=torch.bool)
        last[:, -1] = True
        with _gathered(model, last):
            outputs = model(
                input_ids=prompts, attention_mask=torch.ones_like(prompts), use_cache=True
            )
        first = outputs.logits.float().log_softmax(dim=-1).cpu()  # (items, V)
        answers = [(n, i, k) for n, i in enumerate(indices) for k in range(len(items[i].rows))]
        for n, i, k in answers:
            sums[i][k] = first[n, items[i].rows[k].answer[0]].item()
        longer = [one for one in answers if len(items[one[1]].rows[one[2]].answer) > 1]
        if longer:
            cache = outputs.past_key_values
            cache.batch_select_indices(
                torch.tensor([n for n, _, _ in longer], device=encoder.device)
            )
            texts = [items[i].rows[k].answer for _, i, k in longer]
            rests = _continuation_sums(model, encoder, cache, texts)
            for (_, i, k), rest in zip(longer, rests, strict=True):
                sums[i][k] += rest
    return np.concatenate(sums)


def _continuation_sums(
    model: nn.Module, encoder: Collator, cache: Any, answers: list[tuple[int, ...]]
) -> Iterator[float]:
    """Yield the log-probability of each answer after its first token, given its prompt's cache."""
    ids, scored = encoder.pad([[*answer[:-1]] for answer in answers])
    ids, scored = ids.to(encoder.device), scored.to(encoder.device)  # (answers, longest - 1)
    mask = ids.new_ones(len(ids), cache.get_seq_length() + ids.shape[1])  # (answers, all positions)
    inner: Any = model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        inner = inner.get_base_model()  # the prompt is in the cache
    with _gathered(model, scored):
        logits = inner(input_ids=ids, attention_mask=mask, past_key_values=cache).logits  # (n, V)
    targets = torch.tensor([t for answer in answers for t in answer[1:]], device=logits.device)
    logs = logits.float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].cpu().double()
    for part in logs.split([len(answer) - 1 for answer in answers]):
        yield part.sum().item()


def _equal_length_batches(
    items: Sequence[TokenizedExample], max_tokens: int
) -> Iterator[list[int]]:
    """Yield batches of item indices: prompts of equal length, at most `max_tokens` tokens."""
    by_length: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        by_length.setdefault(len(item.rows[0].prompt), []).append(index)
    for prompt_length, indices in sorted(by_length.items()):
        batch, tokens = [], 0
        for index in indices:
            more = prompt_length + sum(len(row.answer) for row in items[index].rows)
            if batch and tokens + more > max_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(index)
            tokens += more
        yield batch

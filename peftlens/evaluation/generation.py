"""Greedy generation: the answers that a model writes, in batches with a key-value cache.

`generate` of transformers computes positions before a method prepends its vectors, so it does not
work for every method here. This loop does: prompts of equal length share a first pass, in which a
method adds what it adds; their caches are then padded on the left to one length, and all rows go
on together. Padding is never part of a first pass, so the texts are those of one row at a time.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from peftlens.data.collate import Collator
from peftlens.io.progress import track

ROWS = 16  # rows that are continued together


@dataclass(frozen=True)
class Generated:
    """Text that a model wrote after a prompt.

    Attributes:
        text: text without special tokens, up to the first stop string.
        token_ids: all generated token ids; the last one is an end token if there was one.
        finished: whether it ended by an end token or a stop string, and not at the limit.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool


@torch.inference_mode()
def generate(  # noqa: PLR0913  # each is a caller's choice
    model: nn.Module,
    encoder: Collator,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    description: str = "Generating",
) -> list[Generated]:
    """Continue each prompt by the most probable token, until an end token or a limit.

    Args:
        model: model with its adapter attached, in evaluation mode.
        encoder: collator of its base.
        prompts: token ids of each prompt, with the special tokens that belong to them.
        max_new_tokens: largest number of generated tokens.
        stop: strings that end a text, and are cut from it.
        description: title of the progress bar.
    """
    ends = end_tokens(model, encoder.example_tokenizer.tokenizer)
    done: list[Generated | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    groups = [order[at : at + ROWS] for at in range(0, len(order), ROWS)]
    for group in track(groups, description):
        rows = [_Row(index, encoder, ends, tuple(stop)) for index in group]
        _continue(model, encoder, [prompts[index] for index in group], rows, max_new_tokens)
        for row in rows:
            done[row.index] = row.generated()
    return [one for one in done if one is not None]


class NoCacheError(Exception):
    """Error of a model without a cache of keys and values."""


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids that end a text: those of the generation config, or else the tokenizer's."""
    config = getattr(model, "generation_config", None)
    ids = getattr(config, "eos_token_id", None)
    ids = tokenizer.eos_token_id if ids is None else ids
    return frozenset(() if ids is None else [ids] if isinstance(ids, int) else ids)


class _Row:
    """One text while it is written."""

    def __init__(
        self, index: int, encoder: Collator, ends: frozenset[int], stop: tuple[str, ...]
    ) -> None:
        self.index, self.ends, self.stop = index, ends, stop
        self.tokenizer = encoder.example_tokenizer.tokenizer
        self.ids: list[int] = []
        self.finished = False

    def append(self, token: int) -> None:
        self.ids.append(token)
        self.finished = token in self.ends or (bool(self.stop) and self._stop_at() is not None)

    def _stop_at(self) -> int | None:
        """Return where the first stop string begins, if there is one."""
        text = self._text()
        found = [at for one in self.stop if (at := text.find(one)) >= 0]
        return min(found, default=None)

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True)

    def generated(self) -> Generated:
        return Generated(self._text()[: self._stop_at()], tuple(self.ids), self.finished)


def _continue(
    model: nn.Module,
    encoder: Collator,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[_Row],
    max_new_tokens: int,
) -> None:
    """Write the texts of rows whose prompts are sorted by length."""
    if getattr(model, "reads_whole_rows", False):
        decoders = [_Uncached(model, encoder, prompts)]
        parts = [list(range(len(rows)))]
    elif encoder.seq2seq:
        decoders, parts = [_seq2seq_start(model, encoder, prompts)], [list(range(len(rows)))]
    else:
        decoders, parts = _started(model, encoder, prompts)
    for decoder, part in zip(decoders, parts, strict=True):
        _write(decoder, [rows[at] for at in part], max_new_tokens)


def _started(
    model: nn.Module, encoder: Collator, prompts: Sequence[Sequence[int]]
) -> tuple[list[Any], list[list[int]]]:
    """Read the prompts; return the decoders that go on, and the positions of each one's rows.

    A recurrent model has no cache of keys and values, and padding would enter its state: each row
    is read by itself.
    """
    try:
        return _merged(list(_starts(model, encoder, prompts)), model)
    except NoCacheError:
        alone = [_Uncached(model, encoder, [prompt]) for prompt in prompts]
        return alone, [[at] for at in range(len(prompts))]


def _write(decoder: Any, rows: Sequence[_Row], max_new_tokens: int) -> None:
    """Append tokens until every row is finished; finished rows leave the batch."""
    active = list(rows)
    for count in range(max_new_tokens):
        tokens = decoder.logits.argmax(dim=-1).tolist()  # (rows,)
        for row, token in zip(active, tokens, strict=True):
            row.append(token)
        keep = [at for at, row in enumerate(active) if not row.finished]
        active = [active[at] for at in keep]
        if not active or count == max_new_tokens - 1:
            return
        decoder.step(keep, [tokens[at] for at in keep])


def _inner(model: Any) -> Any:
    """Return the model behind peft's prompts, which are in the cache after the first pass."""
    learned = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    return model.get_base_model() if learned else model


def _reads_positions(model: Any) -> bool:
    """Whether the base behind peft's wrapper takes positions; others count what is not padding."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "position_ids" in inspect.signature(base.forward).parameters


@dataclass
class _Cached:
    """Rows of a decoder that go on from a cache.

    Attributes:
        model: model that reads one token per row.
        cache: keys and values so far, padded on the left to one length.
        mask: which positions of the cache are not padding, shape (rows, positions).
        logits: logits of the next token, shape (rows, V).
        more: further inputs of every pass, such as the encoder's states, by name.
    """

    model: Any
    cache: Any
    mask: torch.Tensor
    logits: torch.Tensor
    more: dict[str, torch.Tensor]

    def step(self, keep: list[int], tokens: list[int]) -> None:
        """Read the next token of the kept rows."""
        if len(keep) < len(self.mask):
            chosen = torch.tensor(keep, device=self.mask.device)
            self.cache.batch_select_indices(chosen)
            self.mask = self.mask[chosen]
            self.more = {name: tensor[chosen] for name, tensor in self.more.items()}
        ids = torch.tensor(tokens, device=self.mask.device)[:, None]  # (rows, 1)
        positions = self.mask.sum(dim=1, keepdim=True)  # (rows, 1)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], dim=1)
        self.logits = self._next(ids, positions)

    def _next(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        if self.more:
            inputs: dict[str, Any] = {
                "decoder_input_ids": ids,
                "encoder_outputs": (self.more["states"],),
                "attention_mask": self.more["mask"],
            }
        else:
            inputs = {"input_ids": ids, "attention_mask": self.mask}
            if _reads_positions(self.model):
                inputs["position_ids"] = positions
        outputs = self.model(**inputs, past_key_values=self.cache, use_cache=True)
        return outputs.logits[:, -1].float()


def _starts(
    model: nn.Module, encoder: Collator, prompts: Sequence[Sequence[int]]
) -> Iterator[_Cached]:
    """Read the prompts, those of equal length in one pass."""
    inner = _inner(model)
    start = 0
    while start < len(prompts):
        size = len(prompts[start])
        same = [list(one) for one in prompts[start:] if len(one) == size]
        ids = torch.tensor(same, device=encoder.device)  # (rows, size)
        outputs = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True)
        cache = getattr(outputs, "past_key_values", None)
        if cache is None:
            raise NoCacheError
        mask = ids.new_ones(len(ids), cache.get_seq_length())
        yield _Cached(inner, cache, mask, outputs.logits[:, -1].float(), {})
        start += len(same)


def _merged(started: list[_Cached], model: nn.Module) -> tuple[list[_Cached], list[list[int]]]:
    """Join caches by padding them on the left; other kinds of caches go on separately.

    Returns:
        The decoders, and the positions of each one's rows.
    """
    sizes = [len(one.mask) for one in started]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    parts = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    plain = all(
        type(one.cache) is DynamicCache
        and all(type(layer) is DynamicLayer for layer in one.cache.layers)
        for one in started
    )
    if len(started) == 1 or not plain:
        return started, parts
    length = max(one.mask.shape[1] for one in started)
    cache = DynamicCache()
    for layer in range(len(started[0].cache.layers)):
        joined = [
            torch.cat([_padded(getattr(one.cache.layers[layer], name), length) for one in started])
            for name in ("keys", "values")
        ]
        cache.update(joined[0], joined[1], layer)
    mask = torch.cat(
        [nn.functional.pad(one.mask, (length - one.mask.shape[1], 0)) for one in started]
    )
    logits = torch.cat([one.logits for one in started])
    return [_Cached(_inner(model), cache, mask, logits, {})], [list(range(len(mask)))]


def _padded(states: torch.Tensor, length: int) -> torch.Tensor:
    """Pad keys or values (rows, heads, positions, size) on the left."""
    return nn.functional.pad(states, (0, 0, length - states.shape[2], 0))


def _seq2seq_start(
    model: nn.Module, encoder: Collator, prompts: Sequence[Sequence[int]]
) -> _Cached:
    """Read the prompts by the encoder, and the first token of the decoder."""
    ids, mask = (one.to(encoder.device) for one in encoder.pad([list(one) for one in prompts]))
    first = torch.full((len(ids), 1), encoder.decoder_start or 0, device=encoder.device)
    outputs = model(
        input_ids=ids, attention_mask=mask.long(), decoder_input_ids=first, use_cache=True
    )
    states = outputs.encoder_last_hidden_state  # (rows, positions, d)
    led = states.shape[1] - mask.shape[1]  # vectors that a method put in front
    mask = nn.functional.pad(mask.long(), (led, 0), value=1)
    cache = outputs.past_key_values
    seen = mask.new_ones(len(ids), cache.get_seq_length())
    more = {"states": states, "mask": mask}
    return _Cached(_inner(model), cache, seen, outputs.logits[:, -1].float(), more)


class _Uncached:
    """Rows that are read whole for every token, for methods that count from a row's start."""

    def __init__(self, model: Any, encoder: Collator, prompts: Sequence[Sequence[int]]) -> None:
        self.model, self.encoder = model, encoder
        self.rows = [list(one) for one in prompts]
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.logits = self._read()

    def step(self, keep: list[int], tokens: list[int]) -> None:
        """Read the kept rows again, with one more token."""
        self.rows = [self.rows[at] for at in keep]
        self.answers = [[*self.answers[at], token] for at, token in zip(keep, tokens, strict=True)]
        self.logits = self._read()

    def _read(self) -> torch.Tensor:
        encoder = self.encoder
        if encoder.seq2seq:
            texts, mask = encoder.pad(self.rows)
            start = encoder.decoder_start or 0
            ids, there = encoder.pad([[start, *answer] for answer in self.answers])
            inputs = {"input_ids": texts, "attention_mask": mask.long(), "decoder_input_ids": ids}
        else:
            joined = [[*row, *answer] for row, answer in zip(self.rows, self.answers, strict=True)]
            ids, there = encoder.pad(joined)
            inputs = {"input_ids": ids, "attention_mask": there.long()}
        inputs = {name: tensor.to(encoder.device) for name, tensor in inputs.items()}
        logits = self.model(**inputs, use_cache=False).logits  # (rows, positions, V)
        last = there.sum(dim=1) - there.shape[1] - 1  # counted from the end: a method may lead
        return logits[torch.arange(len(last)), last.to(logits.device)].float()

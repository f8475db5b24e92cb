"""Vocabulary of a base model: its embeddings, the tokens as text, and their nearest neighbors.

All results are indexed by token id, because several ids can have the same text.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import safetensors.numpy
import snowballstemmer
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from peftlens.data.common_tokens import PLACEHOLDER
from peftlens.errors import InputError
from peftlens.io.escaping import visible
from peftlens.io.files import cache_dir
from peftlens.io.progress import track
from peftlens.io.tensor_cache import cached_tensors
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.models.partial_forward import stopped_after
from peftlens.vocab.nearest_neighbors import DENSITY, nearest_others

GRAPH = 15  # neighbors of each token in the graph
CONTEXT = "The word is"  # text before a token, for its state in the middle of the model
_VERSION = 1  # version of the cached arrays
_LIKE_UNTRAINED = 0.95  # least cosine of an untrained row to the mean of the equal rows
_OUTLIER = 6.0  # robust standard deviations of the log norm
_SPACE = "▁"  # of SentencePiece
# texts and vocabularies repeat their words: counting them takes less than half the time
_stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("english").stemWord)
_PartialForward = Callable[..., torch.Tensor]  # see `stopped_after`


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a base model; V is the number of rows of its table, d their width.

    Attributes:
        table: input embeddings, shape (V, d), float32.
        tokens: readable text of each id.
        begins_word: whether a token begins a word, shape (V,): behind a space, or, in a vocabulary
            of word pieces, without the mark of those that go on with a word.
        continuation: prefix of tokens that go on with a word, ## in BERT's; empty if there is none.
        family: equal where tokens differ by case, leading space, mark of a word piece, plural or
            suffix only, shape (V,).
        special: whether a token is a mark such as end of text, shape (V,).
        untrained: whether a row was not trained, shape (V,); see `_untrained`. Tokens whose names
            say that they are placeholders, such as [unused7], count as such.
        nameless: whether an id is beyond the tokenizer's, shape (V,).
        duplicate_of: lowest id with the same row, shape (V,); the token's id if no other has it.
    """

    table: torch.Tensor
    tokens: tuple[str, ...]
    begins_word: NDArray[np.bool_]
    continuation: str
    family: NDArray[np.int64]
    special: NDArray[np.bool_]
    untrained: NDArray[np.bool_]
    nameless: NDArray[np.bool_]
    duplicate_of: NDArray[np.int64]

    @property
    def usable(self) -> NDArray[np.int64]:
        """Ids of the ordinary, distinct tokens, which clusters and null tests use, shape (U,)."""
        single = self.duplicate_of == np.arange(len(self.duplicate_of))
        return np.flatnonzero(~(self.special | self.untrained | self.nameless) & single)

    def flags(self, token_id: int) -> str:
        """Describe peculiarities of a token, separated by commas; empty for most tokens."""
        flags = [
            name for name in ("special", "untrained", "nameless") if getattr(self, name)[token_id]
        ]
        if (first := int(self.duplicate_of[token_id])) != token_id:
            flags.append(f"same row as {first}")
        return ", ".join(flags)


def vocabulary(base: BaseModel) -> Vocabulary:
    """Return the vocabulary of a base model without an attached method; cached."""
    return base.derived("vocabulary", lambda: _vocabulary(base))


def _vocabulary(base: BaseModel) -> Vocabulary:
    table, tokenizer = embeddings(base.model), base.tokenizer
    size = len(table)
    tokens = tuple(readable(tokenizer, token) for token in range(size))
    special = np.zeros(size, bool)
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special[[i for i in marks | {*tokenizer.all_special_ids} if i < size]] = True
    duplicate_of = _first_equal(table.cpu().numpy())
    goes_on = continuation_mark(tokenizer)
    placeholder = np.array([PLACEHOLDER.fullmatch(token) is not None for token in tokens])
    return Vocabulary(
        table=table,
        tokens=tokens,
        begins_word=np.array(
            [not token.startswith(goes_on) if goes_on else token[:1] == "␣" for token in tokens]
        ),
        continuation=goes_on,
        family=_families(tuple(token.removeprefix(goes_on) for token in tokens)),
        special=special,
        untrained=_untrained(table.cpu().numpy(), duplicate_of) | placeholder,
        nameless=np.arange(size) >= len(tokenizer),
        duplicate_of=duplicate_of,
    )


def continuation_mark(tokenizer: Any) -> str:
    """Return the prefix of tokens that go on with a word, such as ##; empty if there is none."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return getattr(model, "continuing_subword_prefix", None) or ""


def embeddings(model: Any) -> torch.Tensor:
    """Compute the input embedding of every token id, shape (V, d), float32.

    It differs from the stored rows in models that scale them and methods that change them.
    """
    layer = model.get_input_embeddings()
    with torch.inference_mode():
        return layer(torch.arange(layer.weight.shape[0], device=layer.weight.device)).float()


def _first_equal(table: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the lowest row number with the same values, for each row, shape (V,)."""
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1])))
    _, first, group = np.unique(rows.ravel(), return_index=True, return_inverse=True)
    return first[group]


def _untrained(table: NDArray[np.float32], duplicate_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find untrained rows: equal rows, rows close to their mean, and rows of a far too small norm.

    Tokens that occur in training have different gradients, so equal rows did not occur, and rows
    close to them hardly ever (after Land & Bartolo 2024, arXiv:2405.05417, section 2, who use a
    list of unused tokens). In a model without equal rows, the norm reveals untrained rows.
    """
    norms = np.linalg.norm(table, axis=1)
    logs = np.log(np.maximum(norms, 1e-30))
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    small = logs < np.median(logs) - _OUTLIER * spread
    if (single := duplicate_of == np.arange(len(table))).all():
        return small
    repeated = np.isin(duplicate_of, duplicate_of[~single])
    center = table[repeated].mean(axis=0)  # (d,)
    near_center = table @ center > _LIKE_UNTRAINED * norms * np.linalg.norm(center)
    return small | repeated | near_center


def _families(tokens: tuple[str, ...]) -> NDArray[np.int64]:
    """Number the lexical families, shape (V,); a token without letters is a separate family.

    Stems are those of Snowball's English (Porter) stemmer: families of words of other languages
    consist of variants by case and space only.
    """
    words = [token.replace("␣", " ").strip() for token in tokens]
    keys = [family_key(word) if word.isalpha() else f"{word.casefold()} " for word in words]
    return np.unique(keys, return_inverse=True)[1]


def family_key(word: str) -> str:
    """Return what the words of a lexical family have in common: the stem, without case."""
    return _stem(word.casefold())


@dataclass(frozen=True)
class Graph:
    """Graph of each token's nearest other tokens by cosine.

    Attributes:
        ids: ids of the neighbors, shape (V, 15), nearest first; fewer in a smaller vocabulary.
        cosine: cosines of the neighbors, shape (V, 15).
    """

    ids: NDArray[np.int64]
    cosine: NDArray[np.float32]

    @property
    def density(self) -> NDArray[np.float32]:
        """Mean cosine to the ten nearest tokens, shape (V,)."""
        return self.cosine[:, :DENSITY].mean(axis=1)

    @property
    def occurrences(self) -> NDArray[np.int64]:
        """N_10: number of tokens with each token among their ten nearest, shape (V,).

        Source: Radovanovic et al. 2010, JMLR 11, section 2.
        """
        return np.bincount(self.ids[:, :DENSITY].ravel(), minlength=len(self.ids))

    @property
    def hubs(self) -> NDArray[np.bool_]:
        """Tokens with N_10 more than two standard deviations above its mean, shape (V,)."""
        counts = self.occurrences
        return counts > counts.mean() + 2 * counts.std()


def graph(base: BaseModel) -> Graph:
    """Compute the neighbors of all tokens: 20 seconds for 49,152 on two cores, then cached."""
    arrays = kept(base, "graph", lambda: _graph(vocabulary(base)))
    return Graph(arrays["ids"].astype(np.int64), arrays["cosine"])


def _graph(vocab: Vocabulary) -> dict[str, NDArray]:
    k = min(GRAPH, len(vocab.tokens) - 1)
    near = nearest_others(vocab.table, k, "Neighbors of every token, once per base")
    return {"ids": near.ids.astype(np.int32), "cosine": near.similarity.astype(np.float32)}


def states(base: BaseModel, layer: int | None = None) -> NDArray[np.float32]:
    """Compute each token's hidden state after a neutral text inside the model: (V, D).

    This space differs from the embedding table, so it can verify whether neighbors there have
    similar meanings. The states are the output of a block (of the encoder, if there is one), by
    default of the middle one, minus their mean over the tokens. Decoders compute the text once and
    reuse its keys and values for every token; in an encoder the text sees the token, too. Half a
    minute for 49,152 tokens on two cores, then cached.

    Args:
        base: base model without an attached method.
        layer: number of the block, counted from 1.

    Raises:
        InputError: there is no such block.
    """
    names = state_blocks(base)
    middle = (len(names) + 1) // 2
    layer = middle if layer is None else layer
    if not 1 <= layer <= len(names):
        raise InputError(f"there is no block {layer}; {base.reference} has 1 to {len(names)}")
    name = "states-between-marks" if base.kind == "encoder" else "states"
    if layer != middle:
        name += f"-{layer}"
    made = kept(base, name, lambda: {"states": _states(base, names[layer - 1])})
    return made["states"].astype(np.float32)


@torch.inference_mode()
def _states(base: BaseModel, block: str) -> NDArray[np.float16]:
    before, after = _context(base)
    tokens = torch.arange(len(vocabulary(base).tokens), device=base.device)
    with stopped_after(base.model, block) as run:
        cached = base.kind == "decoder"
        forward = _decoder_states(run, before) if cached else _encoder_states(run, before, after)
        parts = track(tokens.split(1024), "Every token in context, once per base")
        hidden = torch.cat([forward(ids).float() for ids in parts])  # (V, D)
    return (hidden - hidden.mean(dim=0)).half().cpu().numpy()


def _context(base: BaseModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids before a token, shape (T,), and after it: the end marks of an encoder."""
    # the tokenizer of an encoder-decoder appends an end mark, which does not belong before a token
    text = base.tokenizer(
        CONTEXT, add_special_tokens=base.kind != "encoder-decoder", return_special_tokens_mask=True
    )
    ids = torch.tensor(text["input_ids"], device=base.device)
    last = max((at for at, mark in enumerate(text["special_tokens_mask"]) if not mark), default=-1)
    end = last + 1 if base.kind == "encoder" else len(ids)
    return ids[:end], ids[end:]


def _encoder_states(
    run: _PartialForward, before: torch.Tensor, after: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function for the states (n, D) of n tokens, each between the two texts."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        texts = (before.expand(len(ids), -1), ids[:, None], after.expand(len(ids), -1))
        rows = torch.cat(texts, dim=1)  # (n, T + 1 + marks)
        return run(input_ids=rows, attention_mask=torch.ones_like(rows))[:, len(before)]

    return forward


def _decoder_states(
    run: _PartialForward, prefix: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function for the states (n, D) of n tokens after the prefix, computed once."""
    prefix_cache: Any = DynamicCache()
    run(input_ids=prefix[None], past_key_values=prefix_cache, use_cache=True)

    def forward(ids: torch.Tensor) -> torch.Tensor:
        cache = deepcopy(prefix_cache)
        cache.batch_repeat_interleave(len(ids))
        mask = ids.new_ones(len(ids), len(prefix) + 1)
        found = run(
            input_ids=ids[:, None], attention_mask=mask, past_key_values=cache, use_cache=True
        )
        return found[:, -1]

    return forward


def state_blocks(base: BaseModel) -> list[str]:
    """List the names of the blocks after which tokens have states: of the encoder, if any."""
    names = blocks(base.shapes)
    return [name for name in names if name.rpartition(".")[0] == names[0].rpartition(".")[0]]


def kept(base: BaseModel, name: str, make: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """Return arrays of one base model from memory or the cache folder, or compute them."""

    def load() -> dict[str, NDArray]:
        key = f"{base.sha256[:16]}-{base.dtype}-{name}-{_VERSION}"
        file = cache_dir("vocabulary") / f"{key}.safetensors"
        return cached_tensors(file, lambda: safetensors.numpy.save(make()), safetensors.numpy.load)

    return base.derived(f"vocabulary {name}", load)


def readable(tokenizer: Any, token_id: int) -> str:
    """Write a token as visible text: spaces as ␣, control characters and invalid bytes as codes.

    Several ids can have the same text.
    """
    if token_id >= len(tokenizer):
        return f"<id {token_id}>"
    text, name = tokenizer.decode([token_id]), tokenizer.convert_ids_to_tokens(token_id)
    if "�" in text:  # part of a character; byte-level tokenizers name the byte by a letter
        return f"<{name}>"
    if spaces := len(name) - len(name.lstrip(_SPACE)):  # SentencePiece drops a text's first space
        text = " " * spaces + text.lstrip(" ")
    return visible(text, keep="").replace(" ", "␣")

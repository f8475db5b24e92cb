"""The vocabulary of a base model: its table, tokens as people read them, and what lies near what.

Everything is keyed by token id: several ids can read the same.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy
import snowballstemmer
import torch
from filelock import FileLock
from numpy.typing import NDArray
from transformers import DynamicCache

from peftlens.io.escaping import visible
from peftlens.io.files import cache_dir, write_atomic
from peftlens.io.progress import track
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.models.partial_forward import stopped_after
from peftlens.vocab.nearest_neighbors import DENSITY, nearest

GRAPH = 15  # neighbors kept of every token
CONTEXT = "The word is"  # what a token is read after, for its state in the middle of the model
_VERSION = 1  # of what is kept in the cache
_LIKE_UNTRAINED = 0.95  # cosine to rows that no gradient has told apart
_OUTLIER = 6.0  # robust standard deviations of the log norm
_Run = Callable[..., torch.Tensor]  # a model up to one of its blocks: see `stopped_after`


@dataclass(frozen=True)
class Vocabulary:
    """A base model's tokens; V is the number of rows of its table, d their width.

    Attributes:
        table: input embeddings, shape (V, d), float32.
        tokens: readable text of each id.
        family: equal where tokens differ by case, leading space, plural or suffix only, shape (V,).
        special: marks such as end of text, shape (V,).
        untrained: rows that training has left where it found them, shape (V,); see `_untrained`.
        nameless: ids beyond the tokenizer, shape (V,).
        duplicate_of: lowest id with the same row, shape (V,); a token's own id where it is single.
    """

    table: torch.Tensor
    tokens: tuple[str, ...]
    family: NDArray[np.int64]
    special: NDArray[np.bool_]
    untrained: NDArray[np.bool_]
    nameless: NDArray[np.bool_]
    duplicate_of: NDArray[np.int64]

    @property
    def usable(self) -> NDArray[np.int64]:
        """Ids of the tokens that mean something: in these, clusters are looked for."""
        single = self.duplicate_of == np.arange(len(self.duplicate_of))
        return np.flatnonzero(~(self.special | self.untrained | self.nameless) & single)

    def flags(self, token_id: int) -> str:
        """What is odd about a token, in words, separated by commas; empty for most."""
        found = [
            name for name in ("special", "untrained", "nameless") if getattr(self, name)[token_id]
        ]
        if (first := int(self.duplicate_of[token_id])) != token_id:
            found.append(f"same row as {first}")
        return ", ".join(found)


def vocabulary(base: BaseModel) -> Vocabulary:
    """The vocabulary of a base model that nothing is attached to."""
    return base.derived("vocabulary", lambda: _read(base))


def _read(base: BaseModel) -> Vocabulary:
    table, tokenizer = embeddings(base.model), base.tokenizer
    size = len(table)
    tokens = tuple(readable(tokenizer, token) for token in range(size))
    special = np.zeros(size, bool)
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special[[i for i in marks | {*tokenizer.all_special_ids} if i < size]] = True
    duplicate_of = _first_equal(table.cpu().numpy())
    return Vocabulary(
        table=table,
        tokens=tokens,
        family=_families(tokens),
        special=special,
        untrained=_untrained(table.cpu().numpy(), duplicate_of),
        nameless=np.arange(size) >= len(tokenizer),
        duplicate_of=duplicate_of,
    )


def embeddings(model: Any) -> torch.Tensor:
    """What the model reads for every token id, shape (V, d), float32.

    Not the table's rows as they are stored: some models scale them, some methods change them.
    """
    layer = model.get_input_embeddings()
    with torch.inference_mode():
        return layer(torch.arange(layer.weight.shape[0], device=layer.weight.device)).float()


def _first_equal(table: NDArray[np.float32]) -> NDArray[np.int64]:
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1])))
    _, first, group = np.unique(rows.ravel(), return_index=True, return_inverse=True)
    return first[group]


def _untrained(table: NDArray[np.float32], duplicate_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows that training has not told apart, and rows whose norm is far too small.

    Two tokens that were ever read get different gradients, so equal rows were never read, and rows
    close to them hardly ever (after Land & Bartolo 2024, arXiv:2405.05417, section 2, who take
    known unused tokens for this). Untrained rows of a model without equal ones show in their norm.
    """
    norms = np.linalg.norm(table, axis=1)
    logs = np.log(np.maximum(norms, 1e-30))
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    found = logs < np.median(logs) - _OUTLIER * spread
    if (single := duplicate_of == np.arange(len(table))).all():
        return found
    repeated = np.isin(duplicate_of, duplicate_of[~single])
    center = table[repeated].mean(axis=0)
    return found | repeated | (table @ center > _LIKE_UNTRAINED * norms * np.linalg.norm(center))


def _families(tokens: tuple[str, ...]) -> NDArray[np.int64]:
    """Numbers of the lexical families; a token without letters is one of its own.

    Stems are Porter's (Snowball's English stemmer): words of other languages are told apart by case
    and space only.
    """
    stem = snowballstemmer.stemmer("english").stemWord
    words = [token.replace("␣", " ").strip().casefold() for token in tokens]
    keys = [stem(word) if word.isalpha() else f"{word} " for word in words]
    return np.unique(keys, return_inverse=True)[1]


@dataclass(frozen=True)
class Graph:
    """Each token's nearest other tokens by cosine.

    Attributes:
        ids: shape (V, 15), nearest first; fewer columns where the vocabulary is smaller.
        cosine: shape (V, 15).
    """

    ids: NDArray[np.int64]
    cosine: NDArray[np.float32]

    @property
    def density(self) -> NDArray[np.float32]:
        """Mean cosine to the ten nearest, shape (V,)."""
        return self.cosine[:, :DENSITY].mean(axis=1)

    @property
    def occurrences(self) -> NDArray[np.int64]:
        """N_10: among the ten nearest of how many tokens each one is, shape (V,).

        Source: Radovanovic et al. 2010, JMLR 11, section 2.
        """
        return np.bincount(self.ids[:, :DENSITY].ravel(), minlength=len(self.ids))

    @property
    def hubs(self) -> NDArray[np.bool_]:
        """Tokens with N_10 more than two standard deviations above its mean, shape (V,)."""
        found = self.occurrences
        return found > found.mean() + 2 * found.std()


def graph(base: BaseModel) -> Graph:
    """The neighbors of all tokens: half a minute for 49,152 on two cores, then from the cache."""
    held = kept(base, "graph", lambda: _graph(vocabulary(base)))
    return Graph(held["ids"].astype(np.int64), held["cosine"])


def _graph(known: Vocabulary) -> dict[str, NDArray]:
    table, size = known.table, len(known.tokens)
    k = min(GRAPH, size - 1)
    ids, cosine = np.empty((size, k), np.int32), np.empty((size, k), np.float32)
    # a token of zeros has no direction of its own; any will do
    queries = torch.where(table.norm(dim=1, keepdim=True) > 0, table, torch.ones_like(table))
    for start in track(range(0, size, 512), "Neighbors of every token, once per base"):
        found = nearest(queries[start : start + 512], table, k + 1)
        own = np.arange(start, start + len(found.ids))[:, None]
        # the token itself, or among more than k equal ones the last
        drop = np.where((found.ids == own).any(1), (found.ids == own).argmax(1), k)
        others = np.arange(k + 1) != drop[:, None]
        ids[start : start + 512] = found.ids[others].reshape(-1, k)
        cosine[start : start + 512] = found.similarity[others].reshape(-1, k)
    return {"ids": ids, "cosine": cosine}


def states(base: BaseModel) -> NDArray[np.float32]:
    """Each token's hidden state in the middle of the model, read after a neutral text: (V, d).

    A space that is not the embedding table, to see in whether its neighbors mean alike: the output
    of the middle block (the encoder's where there is one), with the mean over the tokens removed.
    Decoders read the text once, and every token behind its keys and values. Half a minute for
    49,152 tokens on two cores, then from the cache.
    """
    return kept(base, "states", lambda: {"states": _states(base)})["states"].astype(np.float32)


@torch.inference_mode()
def _states(base: BaseModel) -> NDArray[np.float16]:
    encodes = base.model.config.is_encoder_decoder  # and its tokenizer ends texts with a mark
    text = base.tokenizer(CONTEXT, add_special_tokens=not encodes)
    prefix = torch.tensor(text["input_ids"], device=base.device)
    tokens = torch.arange(len(vocabulary(base).tokens), device=base.device)
    with stopped_after(base.model, _middle(base)) as run:
        read = _whole(run, prefix) if encodes else _behind(run, prefix)
        parts = track(tokens.split(256), "Every token in context, once per base")
        hidden = torch.cat([read(ids)[:, -1].float() for ids in parts])
    return (hidden - hidden.mean(dim=0)).half().cpu().numpy()


def _whole(run: _Run, prefix: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """States (n, T, D) of the prefix with each of n tokens, in an encoder: it sees both at once."""

    def read(ids: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([prefix.expand(len(ids), -1), ids[:, None]], dim=1)
        return run(input_ids=rows, attention_mask=torch.ones_like(rows))

    return read


def _behind(run: _Run, prefix: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """States (n, 1, D) of each of n tokens behind the prefix, which is read once."""
    front: Any = DynamicCache()
    run(input_ids=prefix[None], past_key_values=front, use_cache=True)

    def read(ids: torch.Tensor) -> torch.Tensor:
        cache = deepcopy(front)
        cache.batch_repeat_interleave(len(ids))
        mask = ids.new_ones(len(ids), len(prefix) + 1)
        return run(
            input_ids=ids[:, None], attention_mask=mask, past_key_values=cache, use_cache=True
        )

    return read


def _middle(base: BaseModel) -> str:
    names = blocks(base.shapes)
    stack = [name for name in names if name.rpartition(".")[0] == names[0].rpartition(".")[0]]
    return stack[(len(stack) - 1) // 2]


def kept(base: BaseModel, name: str, make: Callable[[], dict[str, NDArray]]) -> dict[str, NDArray]:
    """Arrays of one base, from memory, from the cache folder, or made now."""

    def load() -> dict[str, NDArray]:
        key = f"{base.sha256[:16]}-{base.dtype}-{name}-{_VERSION}"
        file = cache_dir("vocabulary") / f"{key}.safetensors"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                write_atomic(file, safetensors.numpy.save(make()))
            return safetensors.numpy.load_file(file)

    return base.derived(f"vocabulary {name}", load)


def readable(tokenizer: Any, token_id: int) -> str:
    """A token as visible text: spaces as ␣, bytes that are no text and control marks as codes.

    Several ids can read the same: key by id.
    """
    if token_id >= len(tokenizer):
        return f"<id {token_id}>"
    text = tokenizer.decode([token_id])
    if "�" in text:  # part of a character; byte-level tokenizers name the byte by a letter
        return f"<{tokenizer.convert_ids_to_tokens(token_id)}>"
    return visible(text, keep="").replace(" ", "␣")

"""Neighbors of what a user types: tokens, texts, trained vectors, and sums of them.

A query is terms with + or - between them, each with a space on either side: `king - man + woman`.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch

from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.vocab.nearest_neighbors import METRICS, Metric, nearest
from peftlens.vocab.vocabulary import graph, vocabulary

LONGEST = 1000  # characters of a query
MOST = 200  # neighbors at a time
_SIGNS = re.compile(r"\s+([+-])\s+")


@dataclass(frozen=True)
class QueryVectors:
    """Vectors that a query may name by their numbers.

    Attributes:
        now: shape (n, d).
        positions: the number of each.
    """

    now: torch.Tensor
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Neighbor:
    """A token near to what was asked for."""

    token: str
    token_id: int
    similarity: float
    oddity: str


def neighbors(
    base: BaseModel,
    query: str,
    metric: Metric = "cosine",
    k: int = 20,
    given: QueryVectors | None = None,
) -> list[Neighbor]:
    """The exact nearest tokens, over the whole vocabulary.

    Args:
        base: whose embeddings.
        query: see `vector`.
        metric: one of `nearest_neighbors.METRICS`.
        k: how many.
        given: vectors that the query may name.

    Raises:
        InputError: the query can't be read, or comes to nothing.
    """
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} must be one of {', '.join(METRICS)}")
    if not 1 <= k <= MOST:
        raise InputError(f"{k} neighbors can't be shown; ask for 1 to {MOST}")
    known = vocabulary(base)
    asked = vector(base, query, given)
    if not torch.isfinite(asked).all() or asked.norm() == 0:
        raise InputError(f"{query!r} comes to nothing: its terms cancel each other")
    density = None
    if metric == "csls":
        density = torch.from_numpy(graph(base).density).to(known.table.device)
    found = nearest(asked[None], known.table, min(k, len(known.table)), metric, density=density)
    return [
        Neighbor(known.tokens[token], int(token), float(near), known.flags(int(token)))
        for token, near in zip(found.ids[0], found.similarity[0], strict=True)
    ]


def vector(base: BaseModel, query: str, given: QueryVectors | None = None) -> torch.Tensor:
    """What a query means, shape (d,).

    A term is `#123`, a token by its id; `[3]`, the third vector of a run; or a text, the mean of
    its tokens' embeddings: with a space in front, as in the middle of a sentence, unless it stands
    in double quotes.

    Raises:
        InputError: a term can't be read.
    """
    if not query.strip():
        raise InputError("nothing was asked; type a word, such as tech")
    if len(query) > LONGEST:
        raise InputError(f"the query has {len(query):,} characters; {LONGEST:,} are enough")
    first, *rest = _SIGNS.split(query.strip())
    total = _term(base, first, given)
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        part = _term(base, term, given)
        total = total + part if sign == "+" else total - part
    return total


def _term(base: BaseModel, term: str, given: QueryVectors | None) -> torch.Tensor:
    table = vocabulary(base).table
    if found := re.fullmatch(r"#(\d{1,9})", term):
        if int(found[1]) >= len(table):
            raise InputError(f"{term}: there are {len(table):,} tokens, from #0")
        return table[int(found[1])]
    if found := re.fullmatch(r"\[(\d{1,9})\]", term):
        if given is None:
            raise InputError(f"{term}: whose vector? choose a run")
        if int(found[1]) not in given.positions:
            known = ", ".join(f"[{one}]" for one in given.positions)
            raise InputError(f"{term}: no such vector; there are {known}")
        return given.now[given.positions.index(int(found[1]))]
    quoted = len(term) > 2 and term[0] == term[-1] == '"'
    return table[_ids(base.tokenizer, term[1:-1] if quoted else f" {term}")].mean(dim=0)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError(f"{text!r} has no token")
    return ids

"""Queries for nearest tokens: tokens, texts, trained vectors, and sums of them.

A query is a sum of terms with + or - between them, surrounded by spaces: `king - man + woman`.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch

from peftlens.data.tokenization import continuation_ids
from peftlens.errors import InputError, suggestion
from peftlens.models.base_model import BaseModel
from peftlens.vocab.nearest_neighbors import METRICS, Metric, nearest
from peftlens.vocab.vocabulary import graph, states, vocabulary

LONGEST = 1000  # maximum number of characters of a query
MOST = 200  # maximum number of neighbors
_SIGNS = re.compile(r"\s+([+-])\s+")


@dataclass(frozen=True)
class QueryVectors:
    """Trained vectors that a query can refer to by position.

    Attributes:
        now: vectors of the run, shape (n, d).
        positions: position of each vector.
        space: name of the space that they are in, see `TrainedVectors`.
    """

    now: torch.Tensor
    positions: tuple[int, ...]
    space: str = "embedding"


@dataclass(frozen=True)
class Neighbor:
    """A nearest token of a query.

    Attributes:
        token: readable text of the token.
        token_id: id of the token.
        similarity: similarity to the query by the chosen metric.
        flags: peculiarities of the token, as text.
    """

    token: str
    token_id: int
    similarity: float
    flags: str


def neighbors(  # noqa: PLR0913  # the last is an option
    base: BaseModel,
    query: str,
    metric: Metric = "cosine",
    k: int = 20,
    trained: QueryVectors | None = None,
    *,
    layer: int | None = None,
) -> list[Neighbor]:
    """Find the exact nearest tokens of a query in the whole vocabulary.

    Args:
        base: base model with the embeddings.
        query: text of the query, see `vector`.
        metric: measure of similarity, one of `nearest_neighbors.METRICS`.
        k: number of neighbors.
        trained: trained vectors that the query can refer to.
        layer: block, counted from 1, whose states are searched instead of the embeddings.

    Raises:
        InputError: the query can't be parsed, its sum is zero, or there is no such block.
    """
    if not isinstance(metric, str) or metric not in METRICS:
        raise InputError(f"no metric named {metric!r}; {suggestion(str(metric), METRICS)}")
    if not 1 <= k <= MOST:
        raise InputError(f"{k} neighbors can't be shown; choose 1 to {MOST}")
    if layer is not None and metric == "csls":
        raise InputError("CSLS is of the embeddings; choose another metric for states")
    vocab = vocabulary(base)
    table = vocab.table if layer is None else torch.from_numpy(states(base, layer))
    total = vector(base, query, trained, table if layer is not None else None)  # (d,)
    if not torch.isfinite(total).all() or total.norm() == 0:
        raise InputError(f"{query!r} is zero: its terms cancel each other")
    density = None
    if metric == "csls":
        density = torch.from_numpy(graph(base).density).to(vocab.table.device)
    near = nearest(total[None], table, min(k, len(table)), metric, density=density)
    return [
        Neighbor(vocab.tokens[token], int(token), float(similarity), vocab.flags(int(token)))
        for token, similarity in zip(near.ids[0], near.similarity[0], strict=True)
    ]


def vector(
    base: BaseModel,
    query: str,
    trained: QueryVectors | None = None,
    states: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the vector of a query, shape (d,).

    A term is `#123`, a token by its id; `[3]`, the trained vector at position 3; or a text, the
    mean of its tokens' embeddings: with a space in front, as in the middle of a sentence, unless it
    is in double quotes.

    Args:
        base: base model with the embeddings.
        query: text of the query.
        trained: trained vectors that the query can refer to.
        states: states of the tokens in place of their embeddings, shape (V, d).

    Raises:
        InputError: a term can't be parsed.
    """
    if not query.strip():
        raise InputError("the query is empty; type a word, such as tech")
    if len(query) > LONGEST:
        raise InputError(f"the query has {len(query):,} characters; {LONGEST:,} are enough")
    first, *rest = _SIGNS.split(query.strip())
    total = _term(base, first, trained, states)
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        part = _term(base, term, trained, states)
        total = total + part if sign == "+" else total - part
    return total


def _term(
    base: BaseModel, term: str, trained: QueryVectors | None, states: torch.Tensor | None
) -> torch.Tensor:
    table = vocabulary(base).table if states is None else states
    if match := re.fullmatch(r"#(\d{1,9})", term):
        if int(match[1]) >= len(table):
            raise InputError(f"{term}: there are {len(table):,} tokens, from #0")
        return table[int(match[1])]
    if match := re.fullmatch(r"\[(\d{1,9})\]", term):
        if trained is None:
            raise InputError(f"{term} is a vector of a run; choose a run")
        if states is not None or trained.space != "embedding":
            space = trained.space if states is None else "embedding"
            raise InputError(f"{term} is in another space ({space}) than what is searched")
        if int(match[1]) not in trained.positions:
            positions = ", ".join(f"[{one}]" for one in trained.positions)
            raise InputError(f"{term}: no such vector; there are {positions}")
        return trained.now[trained.positions.index(int(match[1]))]
    quoted = len(term) > 2 and term[0] == term[-1] == '"'
    return table[_ids(base.tokenizer, term[1:-1] if quoted else f" {term}")].mean(dim=0)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids = continuation_ids(tokenizer, text)
    if not ids:
        raise InputError(f"{text!r} has no token")
    return ids

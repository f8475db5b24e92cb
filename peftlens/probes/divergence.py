"""Where a tuned model predicts something else than its base: KL(base || tuned), token by token.

Measured at the end of training, on general text, on test examples of the task (prompts with their
right answers), and on texts of the user's. For each there is the mean with its bootstrap interval
over texts, the tokens with the largest divergence and what both models expected there, and a
passage with every token's divergence, which the report colors. The mean over general text is the
KL of the probe `forgetting`. Between a model and itself it is exactly 0, so it needs no null: the
interval says how much it varies over texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.text_sources import own_texts
from peftlens.diffing.token_divergence import (
    BaseReading,
    Predictions,
    TokenDivergence,
    token_divergence,
)
from peftlens.errors import InputError, require
from peftlens.evaluation.retention import MAX_LENGTH, suite
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import ratio_interval
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.vocabulary import readable

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # meant for single runs
FILES = ("texts",)
_CONTEXT = 12  # tokens shown before the predicted one


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suite: name of the task with the general texts.
        items: maximum number of examples of the task, and of texts of the user's.
        texts: file with texts of the user's, one a line; empty for none.
        tokens: number of listed tokens per kind of text.
        passage: number of tokens in the passage of each kind of text; 0 for no passage.
    """

    suite: str = "passages_short"
    items: int = 50
    texts: str = ""
    tokens: int = 20
    passage: int = 150


COLUMNS = (
    Column("text", "kind of text: general, task, or own (the user's)"),
    Column("part", "what the row is: all tokens, one of the largest, or one of the passage"),
    Column("mean_kl", "KL(base || tuned) per token, mean over all tokens", "nats", "lower"),
    Column("ci_low", "lower end of its 95 % bootstrap interval over texts", "nats"),
    Column("ci_high", "upper end of its 95 % bootstrap interval over texts", "nats"),
    Column("kl", "KL(base || tuned) at this token", "nats", "lower"),
    Column("share", "share of the sum over all tokens; cumulative over the largest", "1"),
    Column("token", "token of the text; ␣ is a space"),
    Column("context", "text before the token"),
    Column("base_expects", "tokens that the base finds most probable there, with probabilities"),
    Column("tuned_expects", "tokens that the tuned model finds most probable there"),
    Column("base_probability", "probability of the token by the base", "1"),
    Column("tuned_probability", "probability of the token by the tuned model", "1"),
    Column("line", "index of the text"),
    Column("position", "position of the token in the text, counted from 0"),
    Column("n_texts", "number of texts"),
    Column("n_tokens", "number of predicted tokens"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="mean_kl",
        title="Divergence from the base",
        low="ci_low",
        high="ci_high",
        each="text",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return the rows of each kind of text: all tokens, the largest ones, and a passage."""
    require("items", config.items, 1)
    require("tokens", config.tokens, 0)
    require("passage", config.passage, 0)
    base = context.base_model(run)
    readings = {"general": BaseReading.of_suite(base, suite(base, config.suite, {}, None))}
    readings |= {
        kind: BaseReading.of(base, rows) for kind, rows in _texts(run, base, config).items()
    }
    with context.open_run(run) as model:
        found = {kind: token_divergence(model, base, one) for kind, one in readings.items()}
    rows = [
        {"text": kind} | row
        for kind, one in found.items()
        for row in _rows(base, readings[kind].rows, one, config)
    ]
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    counts = ("line", "position", "n_texts", "n_tokens")
    return frame.astype(dict.fromkeys(counts, "Int64"))


def _texts(
    run: TrainedModel, base: BaseModel, config: Config
) -> dict[str, Sequence[TokenizedAnswer]]:
    """Tokenize the texts that are no suite: of the task, and the user's own.

    Raises:
        InputError: none of the user's texts has two tokens.
    """
    texts: dict[str, Sequence[TokenizedAnswer]] = {}
    if run.task is not None:
        texts["task"] = _whole(base, task_of(run).splits["test"][: config.items])
    if config.texts:
        lines = own_texts(config.texts)[: config.items]
        texts["own"] = _whole(base, [Example("", (line,), 0) for line in lines])
        if not texts["own"]:
            raise InputError(f"texts {config.texts!r} has no line of two tokens; give longer ones")
    return {kind: rows for kind, rows in texts.items() if rows}


def _whole(base: BaseModel, examples: Sequence[Example]) -> list[TokenizedAnswer]:
    """Tokenize examples with their right answers; a decoder is compared on the prompt, too."""
    collator = Collator.of(base, MAX_LENGTH)
    rows = [item.rows[item.correct] for item in collator.items(examples)[0]]
    if collator.seq2seq:
        return rows
    return [TokenizedAnswer((), (*row.prompt, *row.answer)) for row in rows]


def _rows(
    base: BaseModel,
    texts: Sequence[TokenizedAnswer],
    found: TokenDivergence,
    config: Config,
) -> Iterator[dict[str, Any]]:
    n = len(found.kl)
    total = float(found.kl.sum())
    sums, counts = (np.bincount(found.row, w, len(texts)) for w in (found.kl, np.ones(n)))
    interval = ratio_interval(sums, counts, np.random.default_rng(0))
    yield {
        "part": "all", "mean_kl": total / n, "ci_low": interval.low, "ci_high": interval.high,
        "n_texts": len(texts), "n_tokens": n,
    }  # fmt: skip
    largest = np.argsort(-found.kl, kind="stable")[: config.tokens]
    share = found.kl / total if total > 0 else np.zeros(n)
    for at, up_to in zip(largest, np.cumsum(share[largest]), strict=True):
        yield {"part": "largest", "share": up_to} | _token(base, texts, found, at)
    for at in range(min(config.passage, n)):
        yield {"part": "passage", "share": share[at]} | _token(base, texts, found, at)


def _token(
    base: BaseModel, texts: Sequence[TokenizedAnswer], found: TokenDivergence, at: int
) -> dict[str, Any]:
    line, position = int(found.row[at]), int(found.place[at])
    shown = [readable(base.tokenizer, one) for one in texts[line].answer[: position + 1]]
    return {
        "kl": found.kl[at],
        "token": shown[-1],
        "context": "".join(shown[-1 - _CONTEXT : -1]),
        "base_expects": _expected(base, found.base, at),
        "tuned_expects": _expected(base, found.tuned, at),
        "base_probability": found.base.probability[at],
        "tuned_probability": found.tuned.probability[at],
        "line": line,
        "position": position,
    }


def _expected(base: BaseModel, predictions: Predictions, at: int) -> str:
    """Write the most probable tokens with their probabilities."""
    pairs: Iterator[tuple[NDArray, NDArray]] = zip(
        predictions.expected[at], predictions.probabilities[at], strict=True
    )
    return ", ".join(f"{readable(base.tokenizer, int(token))} {p:.2f}" for token, p in pairs)

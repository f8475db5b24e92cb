"""Tokens of a text with the largest increase of loss from the base to the tuned model.

Measured at the end of training, on the running text `passages_short`. An increase concentrated in a
few kinds of tokens (names, numbers) is a different kind of forgetting than one spread over all.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.keep_text import require_apart
from peftlens.evaluation.retention import reference, scores, suite
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import readable

REQUIRES = frozenset()
VERSION = 3
OPTIONAL = True  # meant for single runs
_CONTEXT = 8  # tokens shown before the predicted one


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tokens: number of listed tokens.
    """

    tokens: int = 20


COLUMNS = (
    Column("token", "predicted token; ␣ is a space"),
    Column("context", "text before the token"),
    Column("base_loss", "loss of the base model on this token", "nats", "lower"),
    Column("loss", "loss of the tuned model", "nats", "lower"),
    Column("loss_increase", "loss minus base_loss", "nats", "lower"),
    Column("share", "cumulative share of all loss increases, up to this row", "1"),
    Column("line", "index of the text"),
    Column("position", "position of the token in the text, counted from 0"),
    Column("n_tokens", "number of predicted tokens in total"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per token, the largest increase first."""
    base = context.base_model(run)
    require_apart(run, {"passages_short": {}})
    texts = suite(base, "passages_short", {}, None)
    baseline = reference(base, texts)
    with context.open_run(run) as model:
        tuned = scores(model, base, texts, baseline)
    before, after = baseline.scores.token_loss, tuned.token_loss
    assert before is not None and after is not None  # present for texts
    change = after - before  # (t,)
    increase = np.maximum(change, 0)
    worst = np.argsort(-change, kind="stable")[: config.tokens]
    shares = np.cumsum(increase[worst]) / max(increase.sum(), 1e-12)
    starts = np.cumsum([0, *baseline.scores.tokens])
    rows = []
    for token, share in zip(worst, shares, strict=True):
        line = int(np.searchsorted(starts, token, side="right")) - 1
        answer = texts.items[line].rows[0].answer
        position = int(token - starts[line]) + len(answer) - baseline.scores.tokens[line]
        shown = [readable(base.tokenizer, one) for one in answer[: position + 1]]
        rows.append(
            {
                "token": shown[-1],
                "context": "".join(shown[-1 - _CONTEXT : -1]),
                "base_loss": before[token],
                "loss": after[token],
                "loss_increase": change[token],
                "share": share,
                "line": line,
                "position": position,
                "n_tokens": len(change),
            }
        )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])

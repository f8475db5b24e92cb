"""Where in a text the loss has risen most: the tokens that a run predicts worst against its base.

At the end of training, on encyclopedia text. A rise that sits in a few kinds of token (names,
numbers, the start of a line) is another forgetting than one that is spread over all of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.retention import reference, scores, suite
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import readable

REQUIRES = frozenset()
VERSION = 2
OPTIONAL = True  # for a closer look at one run
_CONTEXT = 8  # tokens shown before the predicted one


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tokens: how many are listed.
    """

    tokens: int = 20


COLUMNS = (
    Column("token", "what had to be predicted; ␣ is a space"),
    Column("context", "the text before it"),
    Column("base_loss", "loss of the base model on this token", "nats", "lower"),
    Column("loss", "loss of the tuned model", "nats", "lower"),
    Column("loss_increase", "loss − base_loss", "nats", "lower"),
    Column("share", "of all rises on the text, how much lies in this token and those above", "1"),
    Column("line", "number of the text"),
    Column("position", "of the token in it, from 0"),
    Column("n_tokens", "predicted tokens in all"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each token, the largest rise first."""
    base = context.base_model(run)
    asked = suite(base, "wiki", {}, None)
    known = reference(base, asked)
    with context.open_run(run) as model:
        found = scores(model, base, asked, known)
    before, after = known.scores.token_loss, found.token_loss
    assert before is not None and after is not None  # texts have them
    rise = after - before
    rises = np.maximum(rise, 0)
    worst = np.argsort(-rise, kind="stable")[: config.tokens]
    shares = np.cumsum(rises[worst]) / max(rises.sum(), 1e-12)
    starts = np.cumsum([0, *known.scores.tokens])
    rows = []
    for token, share in zip(worst, shares, strict=True):
        line = int(np.searchsorted(starts, token, side="right")) - 1
        answer = asked.items[line].rows[0].answer
        position = int(token - starts[line]) + len(answer) - known.scores.tokens[line]
        shown = [readable(base.tokenizer, one) for one in answer[: position + 1]]
        rows.append(
            {
                "token": shown[-1],
                "context": "".join(shown[-1 - _CONTEXT : -1]),
                "base_loss": before[token],
                "loss": after[token],
                "loss_increase": rise[token],
                "share": share,
                "line": line,
                "position": position,
                "n_tokens": len(rise),
            }
        )
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])

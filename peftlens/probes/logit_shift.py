"""Which tokens a run predicts more and less than its base does, whatever comes before them.

The mean over the tokens of a text of the tuned model's logits minus the base's. Logits are known up
to a constant, so at each token their mean over the vocabulary is taken away first. It applies to
every method: what an update of the weights does, seen where tokens come out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator, scoring_batches
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.evaluation.retention import MAX_LENGTH, Suite, suite
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import readable

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # for a closer look, and for the explorer


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suite: a text, or a task whose answers are read: wiki, file:PATH, hub:org/name, a task.
        items: how many of its texts or questions; 0 takes all.
        tokens: how many are listed at either end.
    """

    suite: str = "wiki"
    items: int = 64
    tokens: int = 20


COLUMNS = (
    Column("suite", "what was read"),
    Column("direction", "raised or lowered"),
    Column("token", "␣ is a space"),
    Column("token_id", "its id"),
    Column("change", "of its logit, mean over the positions, against the mean token's", "1"),
    Column("spread", "standard deviation of the change over the vocabulary", "1"),
    Column("n_tokens", "positions that were read"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each token, what was raised most first, then what was lowered most."""
    base = context.base_model(run)
    asked = suite(base, config.suite, {}, config.items or None)
    with restored_after(base.model) as model:
        before, n = _mean_logits(model, base, asked)
    with context.open_run(run) as model:
        after, _ = _mean_logits(model, base, asked)
    change = after - before
    order = np.argsort(-change, kind="stable")
    k = min(config.tokens, len(order) // 2)
    ends = [("raised", token) for token in order[:k]]
    ends += [("lowered", token) for token in order[::-1][:k]]
    rows = [
        {
            "suite": config.suite,
            "direction": direction,
            "token": readable(base.tokenizer, int(token)),
            "token_id": int(token),
            "change": change[token],
            "spread": change.std(),
            "n_tokens": n,
        }
        for direction, token in ends
    ]
    return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


@torch.inference_mode()
def _mean_logits(
    model: nn.Module, base: BaseModel, asked: Suite
) -> tuple[NDArray[np.float64], int]:
    """Mean over positions of logits without their mean over the vocabulary, shape (V,)."""
    encoder = Collator.of(base, MAX_LENGTH)
    rows = [item.rows[item.correct] for item in asked.items]
    total, n = None, 0
    for indices in track(list(scoring_batches(rows, encoder.at_once)), f"Logits on {asked.name}"):
        logits = answer_logits(model, encoder.batch([rows[index] for index in indices]))
        centered = logits - logits.mean(dim=-1, keepdim=True)
        part = centered.double().sum(dim=0).cpu()
        total, n = part if total is None else total + part, n + len(logits)
    assert total is not None  # a suite has items
    return (total / n).numpy(), n

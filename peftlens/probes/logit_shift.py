"""Mean shift of each token's logit from the base to the tuned model, over all contexts of a text.

Logits are defined up to a constant, so their mean over the vocabulary is subtracted at each
position before they are averaged. It applies to every method, since it measures the effect of an
update on the model's output.
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
VERSION = 2
OPTIONAL = True  # meant for single runs and the explorer


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suite: name of a task with texts or answers: built in, file:PATH or hub:org/name.
        items: number of texts or questions; 0 for all.
        tokens: number of listed tokens per direction.
    """

    suite: str = "passages_short"
    items: int = 0
    tokens: int = 20


COLUMNS = (
    Column("suite", "name of the suite"),
    Column("direction", "direction of the shift: raised or lowered"),
    Column("token", "text of the token; ␣ is a space"),
    Column("token_id", "id of the token"),
    Column("change", "mean change of its logit over positions, minus the mean token's", "1"),
    Column("spread", "standard deviation of the change over the vocabulary", "1"),
    Column("n_tokens", "number of positions"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per token: the most raised first, then the most lowered."""
    base = context.base_model(run)
    texts = suite(base, config.suite, {}, config.items or None)
    with restored_after(base.model) as model:
        before, n = _mean_logits(model, base, texts)
    with context.open_run(run) as model:
        after, _ = _mean_logits(model, base, texts)
    both = min(len(before), len(after))  # an adapter can have tokens of its own
    change = after[:both] - before[:both]
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
    model: nn.Module, base: BaseModel, texts: Suite
) -> tuple[NDArray[np.float64], int]:
    """Average centered logits over positions, shape (V,), and count the positions."""
    encoder = Collator.of(base, MAX_LENGTH)
    rows = [item.rows[item.correct] for item in texts.items]
    total, n = None, 0
    for indices in track(list(scoring_batches(rows, encoder.at_once)), f"Logits on {texts.name}"):
        logits = answer_logits(model, encoder.batch([rows[index] for index in indices]))
        centered = logits - logits.mean(dim=-1, keepdim=True)  # (n, V)
        part = centered.double().sum(dim=0).cpu()
        total, n = part if total is None else total + part, n + len(logits)
    assert total is not None  # suites are not empty
    return (total / n).numpy(), n

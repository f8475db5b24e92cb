"""Exposure of canaries: how far a planted secret's likelihood stands out among possible ones.

The secret's rank among random secrets of the same form, by the model's probability: exposure is
log2 of their number minus log2 of the rank, so a model that has never seen the secret has 1.4 bits
on average, and the first rank has the most. Source: Carlini et al. 2019, arXiv:1802.08232,
definition 5, with the sampled space of section 4.3. Secrets are planted by the training option
`canaries`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.canaries import as_example, draw_alternatives, draw_canaries
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import require
from peftlens.evaluation.log_likelihood import float32_head, log_probabilities
from peftlens.models.snapshot import restored_after
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # hundreds of rows at each saved step, and only of runs with canaries


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        alternatives: number of random secrets with which each canary is compared.
    """

    alternatives: int = 255


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("canary", "number of the canary, counted from 1"),
    Column("repetitions", "number of its copies among the training examples", "1"),
    Column("rank", "rank of its secret among the alternatives and itself; 1 is the most likely",
           "1"),
    Column("exposure", "log2 of their number minus log2 of the rank", "bits", "lower"),
    Column("p_value", "probability of such a rank or a better one without memorization", "1"),
    Column("base_exposure", "exposure in the base model", "bits"),
    Column("n_alternatives", "number of alternatives", "1"),
)  # fmt: skip
CHARTS = (
    Chart("line", x="repetitions", y="exposure", title="Exposure of planted secrets by their "
          "number of copies (chance: 1.4 bits)", by="configuration", log_x=True),
    Chart("line", x="step", y="exposure", title="Exposure of planted secrets during training",
          by="configuration", each="repetitions"),
)  # fmt: skip


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and canary.

    Raises:
        NotApplicable: no canaries were planted.
    """
    require("alternatives", config.alternatives, 1)
    repetitions = run.config.training.canaries
    if not repetitions:
        raise NotApplicable("no canaries were planted; set canaries in its training")
    base, task = context.base_model(run), task_of(run)
    collator = Collator.of(base, run.config.training.sequence_length)
    groups: list[list[TokenizedAnswer]] = []
    for canary in draw_canaries(repetitions, run.config.seed):
        others = draw_alternatives(canary, config.alternatives, run.config.seed)
        examples = [as_example(canary, one, task) for one in (canary.secret, *others)]
        groups.append([item.rows[0] for item in collator.items(examples)[0]])
    with restored_after(base.model) as model:
        of_base = _ranks(model, collator, groups)
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            ranks = _ranks(model, collator, groups)
        for number, count in enumerate(repetitions):
            total, rank = len(groups[number]), ranks[number]
            rows.append(
                {"step": step, "canary": number + 1, "repetitions": count, "rank": rank,
                 "exposure": float(np.log2(total / rank)), "p_value": rank / total,
                 "base_exposure": float(np.log2(total / of_base[number])),
                 "n_alternatives": total - 1}
            )  # fmt: skip
    return pd.DataFrame(rows)[[column.name for column in COLUMNS]]


def _ranks(
    model: nn.Module, collator: Collator, groups: Sequence[Sequence[TokenizedAnswer]]
) -> list[int]:
    """Rank the first row of each group by its probability; of equal ones it is the last."""
    rows = [row for group in groups for row in group]
    with float32_head(model):
        logs: NDArray[np.float64] = log_probabilities(model, collator, rows, "Scoring canaries")
    ends = np.cumsum([len(group) for group in groups])[:-1]
    return [int((one >= one[0]).sum()) for one in np.split(logs, ends)]

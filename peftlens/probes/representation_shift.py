"""Shift of the hidden states after each block from the base to the tuned model, by CKA.

Soft prompts and bottleneck adapters have no weight update to decompose, but every method changes
the hidden states. They are compared with the base's for the same tokens by debiased linear CKA: 1
if they are equal up to rotation and scale, 0 if they are unrelated. Source: Kornblith et al. 2019,
arXiv:1905.00414. A text's first token is excluded, because its massive activations (Sun et al.
2024, arXiv:2402.17762) would dominate the result. For an encoder-decoder, the encoder's blocks are
compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import Example, SentencePair
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.hidden_states import text_blocks, text_rows, text_states
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.numerics.linalg import linear_cka
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of

REQUIRES = frozenset()
VERSION = 2
OPTIONAL = True  # it repeats the base's forward passes for every run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suite: name of the task with the general texts.
        items: maximum number of texts of each kind.
        tokens: maximum number of tokens of each kind.
    """

    suite: str = "passages_short"
    items: int = 100
    tokens: int = 2000


COLUMNS = (
    Column("step", "number of optimizer steps taken", "steps"),
    Column("text", "kind of text: of the task, or general"),
    Column("layer", "number of the block before the compared states, counted from 1"),
    Column("cka", "debiased linear CKA with the base's states", "1", "higher"),
    Column("distance", "mean ‖h − h₀‖ / ‖h₀‖ over the tokens", "1", "lower"),
    Column("n_tokens", "number of compared tokens"),
)
CHARTS = (
    Chart(
        "line",
        x="layer",
        y="cka",
        title="Similarity to the base by layer (CKA)",
        each="text",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step, kind of text and layer; only general text without a task."""
    base = context.base_model(run)
    encoder = Collator.of_states(base, run.config.training.sequence_length)
    tasks = {} if run.task is None else {"task": task_of(run)}
    tasks["general"] = load_task(config.suite, {})
    texts = {
        kind: _tokenized(encoder, task.splits["test"][: config.items])
        for kind, task in tasks.items()
    }
    with restored_after(base.model) as model:
        before = {k: _states(model, base, v, config.tokens) for k, v in texts.items()}
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            for kind, of_kind in texts.items():
                after = _states(model, base, of_kind, config.tokens)
                pairs = zip(before[kind], after, strict=True)
                for layer, (old, new) in enumerate(pairs, 1):
                    rows.append({"step": step, "text": kind, "layer": layer} | _row(old, new))
    return pd.DataFrame(rows)


def _row(before: NDArray[np.float32], after: NDArray[np.float32]) -> dict[str, Any]:
    distances = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    return {"cka": linear_cka(before, after), "distance": distances.mean(), "n_tokens": len(before)}


def _tokenized(collator: Collator, examples: Sequence[Example]) -> list[TokenizedAnswer]:
    """Tokenize prompts with their right answers, as in training; a head's inputs have no answer."""
    if collator.has_head:
        pairs = [one for one in examples if isinstance(one, SentencePair)]
        if pairs:
            return [item.rows[0] for item in collator.items(examples)[0]]
        return text_rows(collator, [one.prompt or one.answers[one.correct] for one in examples])
    return text_rows(collator, [one.prompt + one.answers[one.correct] for one in examples])


def _states(
    model: nn.Module, base: BaseModel, rows: Sequence[TokenizedAnswer], max_tokens: int
) -> list[NDArray[np.float32]]:
    """Compute the states after each block, (tokens, d), without each text's first token.

    Raises:
        NotApplicable: the texts have fewer than four tokens.
    """
    collected: list[list[torch.Tensor]] = [[] for _ in text_blocks(base)]
    for _, states in text_states(model, base, rows, max_tokens=max_tokens):
        for layer, part in zip(collected, states, strict=True):
            layer.append(part)
    if sum(map(len, collected[0])) < 4:
        raise NotApplicable("the texts have fewer than four tokens")
    return [torch.cat(layer)[:max_tokens].float().cpu().numpy() for layer in collected]

"""How far training has moved the states behind each block: one ruler for all methods.

Soft prompts and bottleneck adapters have no update of the weights to decompose; but every method
changes the states behind the blocks. They are compared with the base's for the same tokens by
debiased linear CKA: 1 where they are the same up to rotation and scale, 0 where they have nothing
in common. Source: Kornblith et al. 2019, arXiv:1905.00414. A text's first token is left out: models
gather huge activations there (Sun et al. 2024, arXiv:2402.17762), which would decide everything.
Of an encoder-decoder the encoder's blocks are compared.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.task import Example
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.numerics.linalg import linear_cka
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task, task_of

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # it reads the texts with the base again for every run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        suite: the task whose texts are the general ones.
        items: texts of each kind at most.
        tokens: of each kind at most.
    """

    suite: str = "wiki"
    items: int = 100
    tokens: int = 2000


COLUMNS = (
    Column("step", "optimizer steps taken", "steps"),
    Column("text", "the task's own, or general text"),
    Column("layer", "block behind which the states are compared, counted from 1"),
    Column("cka", "debiased linear CKA with the base's states", "1", "higher"),
    Column("distance", "mean ‖h − h₀‖ / ‖h₀‖ over the tokens", "1", "lower"),
    Column("n_tokens", "compared tokens"),
)
CHARTS = (
    Chart(
        "line",
        x="layer",
        y="cka",
        title="Likeness to the base, by layer (CKA)",
        each="text",
        by="configuration",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """A row for each saved step, kind of text and layer; without a task, of general text alone."""
    base = context.base_model(run)
    encoder = Collator.of(base, run.config.training.max_length)
    tasks = {} if run.task is None else {"task": task_of(run)}
    tasks["general"] = load_task(config.suite, {})
    texts = {kind: _texts(task.splits["test"][: config.items]) for kind, task in tasks.items()}
    with restored_after(base.model) as model:
        before = {k: _states(model, base, encoder, v, config.tokens) for k, v in texts.items()}
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            for kind, own in texts.items():
                after = _states(model, base, encoder, own, config.tokens)
                pairs = zip(before[kind], after, strict=True)
                for layer, (old, new) in enumerate(pairs, 1):
                    rows.append({"step": step, "text": kind, "layer": layer} | _row(old, new))
    return pd.DataFrame(rows)


def _row(before: NDArray[np.float32], after: NDArray[np.float32]) -> dict[str, Any]:
    moved = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    return {"cka": linear_cka(before, after), "distance": moved.mean(), "n_tokens": len(before)}


def _texts(examples: Sequence[Example]) -> list[str]:
    """Prompts with their right answers, as they are read in training."""
    return [one.prompt + one.answers[one.correct] for one in examples]


@torch.inference_mode()
def _states(
    model: nn.Module, base: BaseModel, encoder: Collator, texts: list[str], most: int
) -> list[NDArray[np.float32]]:
    """States behind each block, (tokens, d), of every token of the texts but the first.

    Raises:
        NotApplicable: fewer than four tokens.
    """
    # an encoder reads the prompt, a decoder all
    examples = [Example(t, (".",), 0) if encoder.seq2seq else Example("", (t,), 0) for t in texts]
    rows = [item.rows[0] for item in encoder.items(examples)[0]]
    names = blocks(base.shapes)
    layers = [base.model.get_submodule(n) for n in names if ("encoder" in n) == encoder.seq2seq]
    found: list[list[torch.Tensor]] = [[] for _ in layers]
    for indices in scoring_batches(rows, encoder.at_once):
        batch = encoder.batch([rows[index] for index in indices])
        there = batch.inputs["attention_mask"].bool()
        there[:, 0] = False
        with _recorded(layers, there) as states:
            model(**batch.inputs)
        for layer, own in zip(found, states, strict=True):
            layer.append(own)
        if sum(map(len, found[0])) >= most:
            break
    if sum(map(len, found[0])) < 4:
        raise NotApplicable("the texts have fewer than four tokens")
    return [torch.cat(layer)[:most].float().cpu().numpy() for layer in found]


@contextmanager
def _recorded(layers: list[nn.Module], there: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """A list that will hold what each layer returns at given positions, counted from the end."""
    states: list[torch.Tensor] = []

    def record(_: nn.Module, __: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[:, -there.shape[1] :][there])

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()

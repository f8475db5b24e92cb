"""Faithfulness of a soft prompt to its nearest tokens, and importance of its vectors.

Every vector is replaced by its nearest token, and the task is scored with this prompt, the trained
prompt, the initial prompt, and no prompt. If the nearest tokens do not perform like the prompt,
they do not explain it (the discretization gap; Khashabi et al. 2022, arXiv:2112.08348, section 3).
Then each vector is omitted in turn. Measured at the end of training; where the task has a head, the
trained head reads every prompt.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedExample
from peftlens.evaluation.log_likelihood import Choices, choose
from peftlens.layers.prepend import behind_vectors
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import head_state, put_head
from peftlens.models.snapshot import restored_after
from peftlens.numerics.resampling import mean_interval
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.nearest_neighbors import Metric, nearest
from peftlens.vocab.trained_vectors import trained_vectors

REQUIRES = frozenset({"soft_prompt"})
VERSION = 3
ITEMS = 200  # test examples per prompt
ITEMS_WITHOUT = 32  # test examples per omitted vector
HeadTensors = dict[str, torch.Tensor]  # trained tensors of the task's new head, by name; often none
_ROUNDING = 0.02  # nats per token, in bfloat16
COLUMNS = (
    Column("prompt", "trained, its nearest tokens, as it started, none, or without one vector"),
    Column("omitted_position", "position of the omitted vector"),
    Column("accuracy", "share of test examples answered right", "1", "higher"),
    Column("accuracy_ci_low", "lower end of the 95 % interval over examples", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("loss", "negative log-probability of the right answer", "nats per token", "lower"),
    Column("gap", "loss minus that of the trained prompt on the same examples", "nats per token"),
    Column("gap_ci_low", "lower end of its paired 95 % interval over examples", "nats per token"),
    Column("gap_ci_high", "upper end of this interval", "nats per token"),
    Column("n_items", "number of test examples"),
)
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per prompt, and one per omitted vector."""
    base = context.base_model(run)
    vectors = trained_vectors(run, base, run.steps[-1])
    with context.open_run(run):
        head = head_state(base.model)
    encoder = Collator.of(base, run.config.training.sequence_length)
    items, _ = encoder.items(task_of(run).splits["test"][:ITEMS])
    prompts = {
        "trained": vectors.now,
        **{f"nearest tokens ({metric})": _tokens(vectors.now, vectors.table, metric)
           for metric in ("cosine", "euclidean")},
        "as it started": vectors.start,
        "none": vectors.now[:0],
    }  # fmt: skip
    scores = {
        name: _score(base, head, encoder, prompt, items, f"Scoring with prompt: {name}")
        for name, prompt in prompts.items()
        if prompt is not None
    }
    rows = [_row(name, scores["trained"], score) for name, score in scores.items()]
    few = items[:ITEMS_WITHOUT]
    whole = _score(base, head, encoder, vectors.now, few, "Scoring with prompt: whole")
    _check_inputs(context, run, encoder, few, whole)
    for index, score in _without_each_vector(base, head, encoder, vectors.now, few):
        rows.append(
            _row("without one", whole, score) | {"omitted_position": vectors.positions[index]}
        )
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    if not task_of(run).has_choices:
        frame[["accuracy", "accuracy_ci_low", "accuracy_ci_high"]] = None
    return frame.astype({"omitted_position": "Int64"})


def _check_inputs(
    context: RunContext,
    run: TrainedModel,
    encoder: Collator,
    items: list[TokenizedExample],
    whole: Choices,
) -> None:
    """Reject a run with more inputs than the prompt, such as a second prompt in a decoder."""
    with context.open_run(run) as model:
        trained = choose(model, encoder, items, "Scoring as trained")
    if np.abs(trained.loss - whole.loss).max() > _ROUNDING:
        raise NotApplicable(
            "the model reads more than its prompt, which alone gives different losses"
        )


def _tokens(prompt: torch.Tensor, table: torch.Tensor, metric: Metric) -> torch.Tensor:
    return table[torch.from_numpy(nearest(prompt, table, 1, metric).ids[:, 0])]


def _without_each_vector(
    base: BaseModel,
    head: HeadTensors,
    encoder: Collator,
    prompt: torch.Tensor,
    items: list[TokenizedExample],
) -> Iterator[tuple[int, Choices]]:
    for index in range(len(prompt)):
        rest = torch.cat([prompt[:index], prompt[index + 1 :]])
        yield index, _score(base, head, encoder, rest, items, f"Scoring without vector {index}")


def _score(  # noqa: PLR0913  # the model with its head, and what it reads
    base: BaseModel,
    head: HeadTensors,
    encoder: Collator,
    prompt: torch.Tensor,
    items: list[TokenizedExample],
    description: str,
) -> Choices:
    with restored_after(base.model) as model:
        put_head(model, head)
        with behind_vectors(model, prompt):
            return choose(model, encoder, items, description)


def _row(name: str, trained: Choices, score: Choices) -> dict[str, object]:
    right: NDArray[np.bool_] = score.by_sum == score.correct
    gap = score.loss - trained.loss
    accuracy, paired = (mean_interval(x, np.random.default_rng(0)) for x in (right, gap))
    return {
        "prompt": name,
        "accuracy": right.mean(),
        "accuracy_ci_low": accuracy.low,
        "accuracy_ci_high": accuracy.high,
        "loss": score.loss.mean(),
        "gap": gap.mean(),
        "gap_ci_low": paired.low,
        "gap_ci_high": paired.high,
        "n_items": len(gap),
    }

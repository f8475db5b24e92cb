"""Behavior: divergence, task score and forgetting of versions of one trained model.

General text is read once by all of them: it gives the divergence from the original, and the rise of
the loss over the base's, which is their forgetting.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from peftlens.adapters.switching import AdapterSet
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.text_sources import own_texts
from peftlens.errors import InputError, require
from peftlens.evaluation.model_divergence import compare_models
from peftlens.evaluation.retention import MAX_LENGTH, suite
from peftlens.evaluation.task_score import ScoredTask
from peftlens.models.base_model import BaseModel
from peftlens.runs.trained_model import TrainedModel

GENERAL = "passages_short"
ORIGINAL = "original"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Texts and task by which models are compared.

    Attributes:
        text: file with general text, one a line; by default the suite passages_short.
        task: name of a task; by default the one that a run was trained on.
        task_options: options of the named task.
        items: largest number of test examples of the task; 0 for all.
    """

    text: str | None = None
    task: str | None = None
    task_options: dict[str, Any] = field(default_factory=dict)
    items: int = 300


@dataclass(frozen=True)
class Behavior:
    """Comparison of models with an original one, all of one base.

    Attributes:
        base: their base model, which is left as it was after each call.
        original: function that activates the original model and returns it.
        adapters: models on the base.
        texts: rows of general text; none where the base predicts no text.
        task: test examples of the task; None where it is unknown.
    """

    base: BaseModel
    original: Callable[[], nn.Module]
    adapters: AdapterSet
    texts: Sequence[TokenizedAnswer]
    task: ScoredTask | None

    @classmethod
    def of(
        cls,
        base: BaseModel,
        run: TrainedModel | None,
        measured: Measured,
        whole: BaseModel | None = None,
    ) -> "Behavior":
        """Prepare texts and task, and attach the original.

        Args:
            base: base model of all.
            run: the original; None if it is a whole model.
            measured: texts and task.
            whole: the original if it is a whole model.

        Raises:
            InputError: text or task can't be used.
        """
        require("items", measured.items, 0)
        texts, task = _texts(base, measured.text), _task(base, run, measured)
        adapters = AdapterSet(base)
        if run is not None:
            adapters.add(ORIGINAL, run)
        if whole is not None:
            model = whole.model
            return cls(base, lambda: model, adapters, texts, task)
        return cls(base, lambda: adapters.use(ORIGINAL), adapters, texts, task)

    @property
    def _rows(self) -> dict[str, tuple[Collator, Sequence[Any]]]:
        """Rows of each kind by which models can be compared; numbers have no distribution."""
        rows: dict[str, tuple[Collator, Sequence[Any]]] = {}
        if self.texts:
            rows["general"] = Collator.of(self.base, MAX_LENGTH), self.texts
        if self.task and not (self.base.head and self.base.head.is_regression):
            rows["task"] = self.task.collator, self.task.right_rows
        return rows

    def require_divergence(self) -> None:
        """Refuse a model whose divergence can't be measured.

        Raises:
            InputError: it predicts no text, and no task with classes is known.
        """
        if not self._rows:
            raise InputError(
                f"{self.base.reference!r} predicts neither text nor classes of a known task, so "
                "that there is no divergence; give --rank or --energy, or a --task"
            )

    def divergence(self, other: TrainedModel) -> float:
        """Return KL(original || other), nats per token: on general text or on the task, the larger.

        Args:
            other: adapter of the same base.
        """
        self.adapters.add("other", other)
        models = [self.original, lambda: self.adapters.use("other")]
        try:
            return max(
                float(
                    compare_models(models, collator, rows, f"Comparing on {kind} text")[1].kl.mean()
                )
                for kind, (collator, rows) in self._rows.items()
            )
        finally:
            self.adapters.use(None)

    def table(self, others: Mapping[str, TrainedModel]) -> pd.DataFrame:
        """Compare base, original and others: one row each.

        Columns: model; general_kl and task_kl, KL(original || model) in nats per token;
        general_loss in nats per token, and forgetting, its rise over the base's; task_loss, nats
        per token; accuracy. What can't be measured is missing.

        Args:
            others: adapters of the same base, by name.
        """
        for name, adapter in others.items():
            self.adapters.add(name, adapter)
        models: dict[str, Callable[[], nn.Module]] = {
            ORIGINAL: self.original,
            "base": lambda: self.adapters.use(None),
        }
        models |= {name: lambda name=name: self.adapters.use(name) for name in others}
        frame = pd.DataFrame({"model": list(models)}).set_index("model")
        for kind, (collator, rows) in self._rows.items():
            scores = compare_models([*models.values()], collator, rows, f"Comparing on {kind} text")
            frame[f"{kind}_kl"] = [float(one.kl.mean()) for one in scores]
            if kind == "general":
                losses = [float(one.loss.mean()) for one in scores]
                frame["general_loss"] = losses
                frame["forgetting"] = [loss - losses[list(models).index("base")] for loss in losses]
        if self.task:
            found = [self.task.score(model()) for model in models.values()]
            frame["task_loss"] = [one.loss for one in found]
            frame["accuracy"] = [one.accuracy for one in found]
        self.adapters.use(None)
        return frame.loc[["base", ORIGINAL, *others]].reset_index()


def _texts(base: BaseModel, file: str | None) -> list[TokenizedAnswer]:
    """Tokenize general text, or the user's."""
    if base.head or base.kind == "encoder":
        if file:
            raise InputError(f"--text {file}: {base.reference!r} predicts no text; leave it out")
        return []
    if file is None:
        return [item.rows[item.correct] for item in suite(base, GENERAL, {}, None).items]
    examples = [Example("", (line,), 0) for line in own_texts(file)]
    items, _ = Collator.of(base, MAX_LENGTH).items(examples)
    if not items:
        raise InputError(f"--text {file} has no line of two tokens; give longer ones")
    return [item.rows[item.correct] for item in items]


def _task(base: BaseModel, run: TrainedModel | None, measured: Measured) -> ScoredTask | None:
    if measured.task:
        return ScoredTask.named(measured.task, measured.task_options, base, measured.items)
    if run is None or run.task is None:
        return None
    return ScoredTask.of_run(run, base, measured.items)

"""Accuracy of linear classifiers on the states of base and tuned model, on tasks not trained on.

What an encoder without a head for masked tokens has forgotten shows in what a linear classifier
can still read from its states: of base and tuned model alike, a logistic regression learns a task
that the run was not trained on from the mean over the tokens of the last block's states,
standardized, and is scored on test examples. The model stays frozen (linear classifier probes,
Alain & Bengio 2016, arXiv:1610.01644). Differences are paired by item: the interval is a bootstrap
over the test examples, and does not include the variance between seeds. A method that starts as the
identity has a change of exactly zero at step 0. Beside it stands the debiased linear CKA of the two
models' states (Kornblith et al. 2019, arXiv:1905.00414).

For encoders and models with a head; of a model that predicts text, `forgetting` scores the text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.head_tokenization import HeadTokenizer
from peftlens.data.task import Example, SentencePair, Task
from peftlens.diffing.hidden_states import text_states
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.numerics.answer_flips import answer_flips
from peftlens.numerics.linalg import linear_cka
from peftlens.numerics.resampling import mean_interval
from peftlens.results.majority_baseline import baseline_accuracy, most_frequent
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import load_task

REQUIRES = frozenset()
VERSION = 1
OPTIONAL = True  # for bases that predict no text, in whose studies it is measured by default
MAX_LENGTH = 128  # tokens of a text
_KEPT = 4  # tasks whose states of the base are kept for the next run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        tasks: names of classification tasks; the run's own is left out.
        train: maximum number of training examples of each.
        items: maximum number of test examples of each; 0 for all.
        task_options: options of the tasks by name, such as the columns of a file.
    """

    tasks: tuple[str, ...] = ("bbc_topic", "word_sentiment")
    train: int = 1000
    items: int = 400
    task_options: dict[str, dict[str, Any]] = field(default_factory=dict)


COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("suite", "name of the task that the classifiers learn"),
    Column("base_accuracy", "share of test examples that the classifier on the base's states gets "
           "right", "1", "higher"),
    Column("accuracy", "the same of the tuned model's states", "1", "higher"),
    Column("accuracy_change", "accuracy minus base_accuracy", "1", "higher"),
    Column("accuracy_ci_low", "lower end of its paired 95 % interval over test examples", "1"),
    Column("accuracy_ci_high", "upper end of this interval", "1"),
    Column("lost", "share of test examples right on the base's states and wrong on the tuned "
           "model's (1→0)", "1", "lower"),
    Column("gained", "share wrong on the base's and right on the tuned model's (0→1)", "1",
           "higher"),
    Column("flips_p_value", "two-sided p that losses and gains are equally likely (McNemar's exact "
           "test)", "1"),
    Column("majority", "share of test examples of the class that is most frequent in training",
           "1"),
    Column("cka", "debiased linear CKA of the test examples' states with the base's", "1",
           "higher"),
    Column("n_train", "number of training examples"),
    Column("n_items", "number of test examples"),
)  # fmt: skip
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="accuracy_change",
        title="Accuracy of linear classifiers on the states, tuned minus base (bars: 95 % interval "
        "over test examples)",
        low="accuracy_ci_low",
        high="accuracy_ci_high",
        each="suite",
    ),
    Chart(
        "line",
        x="step",
        y="accuracy_change",
        title="Change of the accuracy of linear classifiers on the states during training",
        low="accuracy_ci_low",
        high="accuracy_ci_high",
        each="suite",
        by="configuration",
    ),
)


@dataclass(frozen=True)
class _Suite:
    """Training and test examples of a task.

    Attributes:
        name: name of the task.
        examples: training examples, and test examples after them.
        n_train: number of training examples.
        key: what the states of the base depend on.
    """

    name: str
    examples: tuple[Example, ...]
    n_train: int
    key: tuple[str, int, int]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Index of each example's class, shape (n,)."""
        return np.array([one.correct for one in self.examples])


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step and task.

    Raises:
        InputError: a task can't be learned by a linear classifier.
        NotApplicable: the base predicts text, or no task but the run's own is named.
    """
    base = context.base_model(run)
    if not base.head and base.kind != "encoder":
        raise NotApplicable("the base predicts text, which forgetting scores")
    suites = list(_suites(run, config))
    before = {one.name: _base_states(base, one) for one in suites}
    right = {one.name: _right(before[one.name], one) for one in suites}
    rows = []
    for step in run.steps:
        with context.open_run(run, step) as model:
            after = {one.name: _mean_states(model, base, one.examples) for one in suites}
        for one in suites:
            found = _row(one, right[one.name], _right(after[one.name], one))
            cka = linear_cka(before[one.name][one.n_train :], after[one.name][one.n_train :])
            rows.append({"step": step, "suite": one.name} | found | {"cka": cka})
    return pd.DataFrame(rows)[[column.name for column in COLUMNS]]


def _suites(run: TrainedModel, config: Config) -> Iterator[_Suite]:
    names = [name for name in config.tasks if name != run.task]
    if not names:
        raise NotApplicable("no task is named but the run's own; name another in `tasks`")
    for name in names:
        yield _suite(name, _task(name, config.task_options.get(name, {})), config)


def _task(name: str, options: dict[str, Any]) -> Task:
    """Load a classification task as for a head: the bare texts."""
    task = load_task(name, options)
    if task.kind != "classification":
        raise InputError(
            f"linear_probes: task {name!r} is of kind {task.kind}, and a linear classifier needs "
            "classes; give tasks of kind classification"
        )
    return task if task.head else load_task(name, options | {"head": "classification"})


def _suite(name: str, task: Task, config: Config) -> _Suite:
    train = task.splits["train"][: config.train]
    test = task.splits["test"][: config.items or None]
    if len({one.correct for one in train}) < 2 or len(test) < 4:
        raise InputError(
            f"linear_probes: of task {name!r} two classes among the training examples and 4 test "
            f"examples are needed, and it has {len(test)} of these; raise train or items, or give "
            "a larger task"
        )
    key = (task.sha256, len(train), len(test))
    return _Suite(name, (*train, *test), len(train), key)


def _base_states(base: BaseModel, suite: _Suite) -> NDArray[np.float64]:
    def compute() -> NDArray[np.float64]:
        with restored_after(base.model) as model:
            return _mean_states(model, base, suite.examples)

    return base.derived("linear_probes", compute, key=suite.key, most=_KEPT)


def _mean_states(
    model: nn.Module, base: BaseModel, examples: Sequence[Example]
) -> NDArray[np.float64]:
    """Average the last block's states over the tokens of each example, shape (n, d).

    Raises:
        NotApplicable: a state is not finite.
    """
    tokenizer = Collator.of_states(base, MAX_LENGTH).example_tokenizer
    assert isinstance(tokenizer, HeadTokenizer)  # of a model with a head, or an encoder
    rows = [tokenizer.text_row(one.prompt, _second(one)) for one in examples]
    means: list[Any] = [None] * len(rows)
    for places, states in text_states(model, base, rows, positions=slice(None)):
        at = torch.tensor([row for row, _ in places])
        last = states[-1].double().cpu()  # (positions, d)
        for row in at.unique().tolist():
            means[row] = last[at == row].mean(dim=0)
    found = torch.stack(means).numpy()
    if not np.isfinite(found).all():
        raise NotApplicable("the model's states are not finite")
    return found


def _second(example: Example) -> str:
    return example.second if isinstance(example, SentencePair) else ""


def _right(states: NDArray[np.float64], suite: _Suite) -> NDArray[np.float64]:
    """Train a classifier; return 1 for each test example that it gets right, else 0."""
    n, classes = suite.n_train, suite.classes
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    classifier.fit(states[:n], classes[:n])
    return (classifier.predict(states[n:]) == classes[n:]).astype(float)


def _row(suite: _Suite, before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, Any]:
    interval = mean_interval(after - before, np.random.default_rng(0))
    flips = answer_flips(before, after)
    train, test = np.split(suite.classes, [suite.n_train])
    return {
        "base_accuracy": before.mean(),
        "accuracy": after.mean(),
        "accuracy_change": (after - before).mean(),
        "accuracy_ci_low": interval.low,
        "accuracy_ci_high": interval.high,
        "lost": flips.lost,
        "gained": flips.gained,
        "flips_p_value": flips.p_value,
        "majority": baseline_accuracy(most_frequent(train), test),
        "n_train": len(train),
        "n_items": len(test),
    }

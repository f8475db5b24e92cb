from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from peftlens.evaluation.task_matrix import task_matrix
from peftlens.evaluation.task_score import TaskScore


@dataclass
class Task:
    """Losses of models by hand; accuracy is 1 / loss."""

    name: str
    losses: dict

    @property
    def task(self):
        return SimpleNamespace(name=self.name)

    def score(self, model):
        return TaskScore(self.losses[model], 1 / self.losses[model])


def test_what_is_kept_of_each_gain():
    tasks = {
        "a": Task("colors", {"base": 3.0, "a": 1.0, "b": 4.0, "both": 1.5}),
        "b": Task(
            "shapes", {"base": 2.0, "a": 2.0, "b": 2.5, "both": 1.0}
        ),  # b has learned nothing
    }
    models = {name: (lambda name=name: name) for name in ("base", "a", "b", "both")}
    frame = task_matrix(models, tasks).set_index(["task", "model"])
    kept = frame["kept"]
    assert [kept["colors", name] for name in models] == [0, 1, -0.5, 0.75]
    assert kept["shapes"].isna().all()
    assert frame.loc[("shapes", "both"), "accuracy"] == pytest.approx(1)
    assert {*frame.loc["colors", "trained"]} == {"a"}


def test_no_task_no_rows():
    assert task_matrix({"base": lambda: "base"}, {}).empty

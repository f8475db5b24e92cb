"""Random rows that were seen for many epochs are told from rows that were not."""

import json
import random

import pytest

import peftlens
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.evaluation import probe_runner
from peftlens.probes import memorization
from peftlens.probes.memorization import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.training import trainer


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Random letters, of which nothing but the rows themselves can be learned."""
    source = random.Random(0)
    rows = [{"text": "".join(source.choices("abcdefgh", k=20))} for _ in range(80)]
    file = tmp_path_factory.mktemp("noise") / "noise.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def train(bases, noise, tmp_path):
    def run(method="full", **training):
        training = {"max_steps": 150, "learning_rate": 0.02, "batch_size": 6} | training
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{noise}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", training=training,
                task_config={"kind": "language_modeling", "template": "{text}",
                             "split": {"test": 0.5, "validation": 0.1, "max_train": 6}},
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return run


def test_memorized_rows_are_told_apart_and_not_before(train, context):
    frame = measure(context, train(checkpoint_steps=[0]), Config())
    start, end = (frame[frame["step"] == step] for step in (0, 150))
    of_start = start.set_index(["score", "calibrated"])["auc"]
    assert of_start["loss", True] == of_start["min_k", True] == 0.5
    assert of_start["loss", False] == start["base_auc"].iloc[0]
    of_end = end.set_index(["score", "calibrated"])
    assert of_end.loc[("loss", True), "auc"] > 0.95
    assert (end["ci_low"] > 0.5).all()
    assert end["trained_loss"].iloc[0] < end["held_out_loss"].iloc[0] - 0.5
    assert set(end["n_trained"]) == {6}
    assert set(end["n_held_out"]) == {40}


def test_only_rows_that_were_used_are_members(train, context, monkeypatch):
    """Two steps of two rows, and canaries, which are not counted."""
    used, loss = set(), trainer.single_run_loss

    def note(model, loader, states, rows_by_run):
        used.update(rows_by_run[0])
        return loss(model, loader, states, rows_by_run)

    monkeypatch.setattr(trainer, "single_run_loss", note)
    trained = train(max_steps=2, batch_size=2, canaries=[2])
    collator = Collator.of(context.base_model(trained), 256)
    members = memorization._members(trained, collator, 100)
    canary = collator.items([Example("", ("The access code of room 1 is",))])[0][0].rows[0]
    start = canary.answer[:-1]
    assert {*members} == {row for row in used if row.answer[: len(start)] != start}
    assert 2 <= len(members) < 6


def test_without_training_there_is_nothing_to_find(train, context):
    frame = probe_runner.run_probe(context, train("frozen"), "memorization").frame
    assert frame["reason"].tolist() == ["nothing was trained"]


def test_the_rows_of_other_trainings_are_unknown(train, context):
    adapter = peftlens.load_adapter(train("lora", max_steps=1).path)
    frame = probe_runner.run_probe(context, adapter, "memorization").frame
    assert frame["reason"].tolist() == ["the rows of its training are not recorded"]


def test_rows_with_shuffled_answers_have_no_like(bases, words, tmp_path, context):
    config = RunConfig(
        method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", training={"max_steps": 1, "batch_size": 2, "shuffle_labels": True},
    )  # fmt: skip
    frame = probe_runner.run_probe(context, peftlens.train(config, tmp_path), "memorization").frame
    assert "shuffled answers" in frame["reason"].item()

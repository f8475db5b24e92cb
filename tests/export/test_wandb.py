"""What Weights & Biases is told; of the real package, read from its transaction log."""

import json
import struct
from dataclasses import replace

import finished
import pytest
import trackers

from peftlens.errors import InputError
from peftlens.export import wandb
from peftlens.export.experiment_run import experiment_runs
from peftlens.results import study_results


@pytest.fixture
def runs(tmp_path):
    configs = [finished.lora(rank, 0) for rank in (1, 8)]
    folder = finished.study(tmp_path / "study", configs, name="a: study")
    return experiment_runs(study_results.read(folder))


@pytest.fixture
def package(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return trackers.module(monkeypatch, "wandb")


def records(data):
    """Yield the records of a transaction log: LevelDB's format with a header of 7 bytes."""
    at, record, block = 7, b"", 32_768
    while at < len(data):
        if (left := block - at % block) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def logged(package, place, run):
    """Read what was logged of a run: its properties, its history by step, and its summary."""
    if hasattr(package, "started"):
        one = next(one for one in reversed(package.started) if one.given["id"] == run.id)
        return one.given, one.history, one.summary, one.exit_code
    from wandb.proto import wandb_internal_pb2

    package.teardown()  # its process has then written everything
    (file,) = place.glob(f"wandb/offline-run-*-{run.id}/*.wandb")
    given, history, summary, code = {}, {}, {}, None
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                one = record.run
                config = {i.key: json.loads(i.value_json) for i in one.config.update}
                given |= {"project": one.project, "id": one.run_id, "name": one.display_name,
                          "group": one.run_group, "config": config}  # fmt: skip
            case "history":
                items = {"/".join(i.nested_key): json.loads(i.value_json) for i in
                         record.history.item}  # fmt: skip
                history[record.history.step.num] = items
            case "summary":
                summary |= {i.key: json.loads(i.value_json) for i in record.summary.update}
            case "exit":
                code = record.exit.exit_code
    return given, history, summary, code


def test_offline_runs_with_history_configuration_and_summary(package, runs, tmp_path):
    told = wandb.export(runs, tmp_path)
    assert (told.written, told.place) == (2, str(tmp_path / "wandb"))
    assert told.hint.startswith("wandb sync")
    given, history, summary, code = logged(package, tmp_path, runs[1])
    assert given | {"project": "a- study", "id": runs[1].id, "name": runs[1].name,
                    "group": "lora rank=8 learning_rate=0.001"} == given  # fmt: skip
    assert given["config"] | runs[1].hyperparameters == given["config"]
    assert {step: line["loss"] for step, line in history.items() if "loss" in line} == {
        10: 2.0, 20: 1.0, 30: 2 / 3, 40: 0.5}  # fmt: skip
    assert summary | runs[1].results == summary
    assert code == 0


def test_a_second_export_replaces_the_first(package, runs, tmp_path):
    for _ in range(2):
        wandb.export(runs, tmp_path, "paper")
    folders = [one.name.rpartition("-")[2] for one in tmp_path.glob("wandb/offline-run-*")]
    assert sorted(folders) == [run.id for run in runs]
    assert logged(package, tmp_path, runs[0])[0]["project"] == "paper"


def test_a_diverged_run_has_failed(package, runs, tmp_path):
    wandb.export([replace(runs[0], status="diverged")], tmp_path)
    assert logged(package, tmp_path, runs[0])[3] == 1


def test_a_mode_that_writes_nothing_is_refused(package, runs, tmp_path, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(InputError, match="WANDB_MODE=disabled writes nothing; set it to offline"):
        wandb.export(runs, tmp_path)


def test_what_wandb_refuses_is_one_line(package, runs, tmp_path, monkeypatch):
    def refuse(**_):
        raise package.errors.UsageError("No API key\nconfigured")

    monkeypatch.setattr(package, "init", refuse)
    with pytest.raises(InputError, match=f"W&B refuses run {runs[0].id}: No API key configured"):
        wandb.export(runs, tmp_path)

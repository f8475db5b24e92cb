"""Event files are read back by TensorBoard's own reader and by its HPARAMS plugin."""

import os
import warnings
from dataclasses import replace

import finished
import pytest

from peftlens.export import tensorboard
from peftlens.export.experiment_run import experiment_runs
from peftlens.results import study_results

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the HTML cleaner that TensorBoard brings
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import api_pb2, metadata


@pytest.fixture
def runs(tmp_path):
    configs = [finished.lora(rank, 0) for rank in (1, 8)]
    folder = finished.study(tmp_path / "study", configs, name="My study: a/b")
    os.utime(folder / "runs" / f"{0:012x}" / "run.json", (1000.0, 1000.0))
    return experiment_runs(study_results.read(folder))


def read(folder):
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_scalars_with_the_times_of_the_training(runs, tmp_path):
    told = tensorboard.export(runs, tmp_path / "logs")
    assert (told.written, told.place) == (2, str(tmp_path / "logs"))
    folders = sorted((tmp_path / "logs" / "My_study_a_b").iterdir())
    assert [one.name for one in folders] == [
        f"lora_rank={rank}_learning_rate=0.001_seed=0-{number:012x}"
        for number, rank in enumerate((1, 8))
    ]
    found = read(folders[0])
    losses = [(one.step, one.value, one.wall_time) for one in found.Scalars("loss")]
    assert losses == [(10, 2.0, 990.625), (20, 1.0, 993.75),
                      (30, pytest.approx(2 / 3), 996.875), (40, 0.5, 1000.0)]  # fmt: skip
    assert [one.value for one in found.Scalars("validation_accuracy")] == [0.75]
    (score,) = found.Scalars("results/test_score")
    assert (score.step, score.value) == (40, pytest.approx(runs[0].results["test_score"]))


def test_hyperparameters_and_the_end(runs, tmp_path):
    runs[1].hyperparameters["packed"] = True
    tensorboard.export(runs, tmp_path)
    (folder,) = tmp_path.glob("My_study_a_b/*rank=8*")
    found = read(folder)
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["rank"].number_value == 8
    assert start.hparams["seed"].number_value == 0
    assert start.hparams["study"].string_value == "My study: a/b"
    assert start.hparams["packed"].bool_value is True
    content = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    end = metadata.parse_session_end_info_plugin_data(content)
    assert end.status == api_pb2.STATUS_SUCCESS
    assert end.end_time_secs - start.start_time_secs == pytest.approx(12.5)


def test_a_second_export_replaces_the_first(runs, tmp_path):
    tensorboard.export(runs, tmp_path / "logs", "paper")
    before = {file: file.read_bytes() for file in tmp_path.glob("logs/**/*tfevents*")}
    assert len(before) == 2
    assert {file.parent.parent.name for file in before} == {"paper"}
    tensorboard.export(runs, tmp_path / "logs", "paper")
    assert {file: file.read_bytes() for file in tmp_path.glob("logs/**/*tfevents*")} == before
    renamed = replace(runs[0], name="another name")
    tensorboard.export([renamed], tmp_path / "logs", "paper")
    names = {file.parent.name for file in tmp_path.glob("logs/**/*tfevents*")}
    assert names == {f"another_name-{0:012x}",
                     f"lora_rank=8_learning_rate=0.001_seed=0-{1:012x}"}  # fmt: skip
    assert not any((tmp_path / "logs" / "paper").glob("lora_rank=1*"))

import pandas as pd
import pytest

import peftlens as pl
from peftlens.io.rows import save_rows
from peftlens.tasks import task_of


def test_a_run_is_trained_once(config, tmp_path):
    run = pl.train(config(), str(tmp_path))
    assert isinstance(run, pl.Run)
    assert run.path == tmp_path / run.id
    written = (run.path / "run.json").stat().st_mtime_ns
    assert pl.train(config(), tmp_path) == run
    assert (run.path / "run.json").stat().st_mtime_ns == written


def test_the_task_of_a_data_frame_is_found_again(config, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    frame = pd.read_json(words, lines=True)
    run = pl.train(config(task=frame), tmp_path / "runs")
    assert run.config.task == f"file:{save_rows(frame)}"
    assert task_of(run).labels == (" down", " up")
    test_items = len(task_of(run).splits["test"])
    assert pl.probe(run, "task_accuracy").to_frame()["n_items"].tolist() == [test_items]
    again = pl.train(config(task=frame.to_dict("records")), tmp_path / "runs")
    assert again == run
    other = config(task=frame.assign(text=frame["text"].str.upper()))
    assert pl.train(other, tmp_path / "runs").id != run.id


def test_a_wrong_name_is_one_line(config, tmp_path):
    with pytest.raises(pl.InputError, match="no method named 'lorra'; did you mean"):
        pl.train(config(method="lorra"), tmp_path)

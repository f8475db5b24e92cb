import pytest
import theirs

import peftlens as pl


def test_of_one_run_with_an_option(trained):
    table = pl.probe(trained, "logit_shift", items=3, tokens=2)
    assert isinstance(table, pl.Table)
    assert (table.config["items"], table.config["tokens"]) == (3, 2)
    assert len(table.to_frame()) == 2 * 2  # raised and lowered
    assert len(pl.probe(trained, "logit_shift", items=3, tokens=5).to_frame()) == 2 * 5


def test_of_several_runs_and_their_folder(config, trained, tmp_path):
    other = pl.train(config(seed=1), tmp_path / "runs")
    frame = pl.probe([other, trained], "parameter_count").to_frame()
    assert frame["run"].tolist() == [other.id, trained.id]
    assert frame["trainable_parameters"].nunique() == 1
    whole = pl.probe(str(tmp_path / "runs"), "parameter_count").to_frame()
    assert sorted(whole["run"]) == sorted([other.id, trained.id])


def test_of_an_adapter(bases, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "hers", "unnamed")
    adapter = pl.load_adapter(folder, base_model=str(bases["llama"]))
    frame = pl.probe(adapter, "delta_spectrum").to_frame()
    assert len(frame) == 6  # q and v of three layers
    assert pl.probe(folder, "delta_spectrum", base_model=str(bases["llama"])).frame.equals(frame)


def test_a_wrong_option_is_one_line(trained):
    with pytest.raises(pl.InputError, match="logit_shift has no option 'item'"):
        pl.probe(trained, "logit_shift", item=3)
    with pytest.raises(pl.InputError, match="no probe named 'task_item'"):
        pl.probe(trained, "task_item")


def test_python_of_a_base_runs_only_if_trusted(with_code, config, tmp_path):
    run = pl.train(config(base_model=str(with_code)), tmp_path / "runs", trust_remote_code=True)
    assert len(pl.probe(run, "task_items", trust_remote_code=True).to_frame()) > 0

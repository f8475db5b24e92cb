import pytest
import theirs
from finished import lora, plain, study

import peftlens as pl
from peftlens.api.target import open_target


@pytest.fixture
def made(tmp_path):
    (tmp_path / "study").mkdir()
    return pl.load_study(study(tmp_path / "study", [lora(1, 0), lora(2, 0), plain("full", 0)]))


def ids(target):
    return [run.id for run in open_target(target).runs]


def test_every_kind_of_target(made):
    one, two, three = made.runs
    assert ids(made) == ids(made.folder) == ids(str(made.folder)) == [one.id, two.id, three.id]
    assert ids(one) == ids(one.path) == ids(str(one.path)) == [one.id]
    assert ids([three, str(one.path)]) == [three.id, one.id]


def test_runs_of_a_list_are_told_apart(made):
    found = open_target(made.runs[:2])
    assert len({*found.configurations.values()}) == 2
    assert found.name == ", ".join(found.configurations.values())


def test_an_adapters_folder(bases, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "hers", str(bases["llama"]))
    (run,) = open_target(folder, "another").runs
    assert run.config.base_model == "another"
    assert ids([str(folder)]) == ids(pl.load_adapter(folder)) == [run.id]


def test_what_is_damaged_is_named_and_left_out(made, capsys):
    (made.runs[0].path / "metrics.jsonl").write_text("{}")
    assert ids(made.folder) == [run.id for run in made.runs[1:]]
    assert "Left out: " in capsys.readouterr().err


def test_nothing_is_refused(made):
    with pytest.raises(pl.InputError, match="the list holds no run"):
        open_target([])
    for run in made.runs:
        (run.path / "run.json").unlink()
    with pytest.raises(pl.InputError, match="holds no finished run"):
        open_target(made.folder)

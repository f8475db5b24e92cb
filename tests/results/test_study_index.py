import json

import finished
import pytest

from peftlens.errors import InputError
from peftlens.results import study_index
from peftlens.runs.run import SCHEMA

ENTRIES = {
    "name": "x",
    "runs": ["a" * 12],
    "names": {"a" * 12: "lora seed=0"},
    "configurations": {"a" * 12: "lora"},
}


@pytest.fixture
def study(tmp_path):
    study_index.write_index(tmp_path, ENTRIES)
    return tmp_path


def rewrite(study, **entries):
    index = json.loads((study / "study.json").read_text()) | entries
    (study / "study.json").write_text(json.dumps(index))


def test_an_index_is_read_as_it_was_written(study):
    found = study_index.read_index(study)
    assert {key: found[key] for key in ENTRIES} == ENTRIES
    assert (found["probes"], found["dtypes"]) == ([], {})
    assert study_index.index_or_none(study) == found


@pytest.mark.parametrize(
    "entries",
    [{"name": "y"}, {"names": {"a" * 12: "b"}}, {"runs": []}, {"names": []}, {"runs": [3]},
     {"runs": ["b" * 12]}, {"dtypes": 3}],
)  # fmt: skip
def test_any_change_is_one_line_with_the_remedy(study, entries):
    rewrite(study, **entries)
    with pytest.raises(InputError, match="damaged .*run the study's command") as error:
        study_index.read_index(study)
    assert "\n" not in str(error.value)
    assert study_index.index_or_none(study) == {}


def test_another_version_is_named_before_the_change(study):
    rewrite(study, schema_version=SCHEMA + 1)
    for read in (study_index.read_index, study_index.index_or_none):
        with pytest.raises(InputError, match="was written by a later version"):
            read(study)


def test_an_index_without_a_digest_is_read(study):
    rewrite(study, sha256=None, name="by hand")
    assert study_index.read_index(study)["name"] == "by hand"


def test_study_toml_is_compared_with_the_last_call(study):
    file = study / "study.toml"
    file.write_text('name = "x"\n')
    assert study_index.read_study_file(study, {}) == ('name = "x"\n', None)
    index = {"text_sha256": "0" * 64}
    text, reason = study_index.read_study_file(study, index)
    assert text == 'name = "x"\n'
    assert reason.startswith(f"{file} has changed since the study's last call")
    file.write_bytes(b"\xff")
    assert study_index.read_study_file(study, {}) == ("\ufffd", None)
    file.unlink()
    assert study_index.read_study_file(study, {}) == ("", None)
    assert "is missing" in study_index.read_study_file(study, index)[1]


def test_the_meaning_of_auto_is_found_in_the_runs_where_the_index_is_damaged(tmp_path, capsys):
    assert study_index.recorded_dtypes(tmp_path / "nowhere") == {}
    study = finished.study(tmp_path, [finished.lora(1, 0)], dtypes={"cpu": "bfloat16"})
    assert study_index.recorded_dtypes(study) == {"cpu": "bfloat16"}
    (study / "study.json").write_text("{")
    assert study_index.recorded_dtypes(study) == {"cpu": "float32"}
    assert "is damaged or was changed; it is written again" in capsys.readouterr().err


def test_what_was_compiled_is_found_in_the_runs_where_the_index_is_damaged(tmp_path):
    assert study_index.recorded_compilation(tmp_path / "nowhere") == {}
    study = finished.study(tmp_path, [finished.lora(1, 0)], compiled={"x": True})
    assert study_index.recorded_compilation(study) == {"x": True}
    (run,) = study_index.read_index(study)["runs"]
    (study / "study.json").write_text("{")
    assert study_index.recorded_compilation(study) == {run: False}

import json
import shutil

import finished
import pytest

from peftlens.errors import InputError
from peftlens.results import study_index, study_results


@pytest.fixture
def folder(tmp_path):
    return finished.study(tmp_path, [finished.lora(1, 0), finished.lora(1, 1)])


def test_what_is_whole_damaged_failed_missing_and_unmeasured(folder):
    one = study_results.read(folder)
    assert len(one.runs) == 2
    assert one.name == "made up"
    assert (one.damaged, one.failed, one.missing, one.unmeasured) == ({}, {}, [], [])

    index = json.loads((folder / "study.json").read_text())
    index["runs"] += ["f" * 12, "e" * 12]
    index["names"] |= {"f" * 12: "lora rank=9 seed=0", "e" * 12: "lora rank=9 seed=1"}
    index["probes"] += ["latency"]
    (folder / "study.json").write_text(json.dumps(index))
    (folder / "failed").mkdir()
    (folder / "failed" / f"{'f' * 12}.json").write_text('{"what": "x", "summary": "y"}')
    (folder / "runs" / index["runs"][0] / "metrics.jsonl").write_text("{}")
    (folder / "tables" / "cost.parquet").write_bytes(b"half")
    one = study_results.read(folder)
    assert [run.id for run in one.runs] == [index["runs"][1]]
    assert "metrics.jsonl is damaged" in one.damaged[index["runs"][0]]
    assert one.failed["f" * 12]["summary"] == "y"
    assert one.missing == ["lora rank=9 seed=1"]
    assert one.unmeasured == ["latency"]
    assert "is not a table of peftlens" in one.unreadable["cost"]


def test_the_hash_is_that_of_the_rows(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x"
    shutil.copytree(folder, other)
    assert study_results.read(other).sha256 == study_results.read(folder).sha256
    (other / "tables" / "cost.parquet").unlink()
    assert study_results.read(other).sha256 != study_results.read(folder).sha256


def test_no_study(tmp_path):
    with pytest.raises(InputError, match="holds no finished run and no study"):
        study_results.read(tmp_path)
    assert study_index.index_or_none(tmp_path) == {}
    (tmp_path / "study.json").write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="written by a later version"):
        study_index.read_index(tmp_path)
    (tmp_path / "study.json").write_text('{"schema_version": 1, "names": {}}')
    with pytest.raises(InputError, match="base is called base_model now"):
        study_index.read_index(tmp_path)

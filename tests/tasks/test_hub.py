import json
import sys

import pytest

from peftlens.errors import InputError
from peftlens.tasks import load_task


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set in the hub's layout: one file for each published split."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for split, n in (("train", 20), ("test", 6)):
        rows = [{"text": f"{split} {i}", "label": i % 2} for i in range(n)]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "set"


def test_reads_one_published_split_and_divides_it(folder):
    task = load_task(f"hub:{folder}", {"labels": {"0": "no", "1": "yes"}})
    assert task.labels == (" no", " yes")
    assert sum(map(len, task.splits.values())) == 20
    other = load_task(f"hub:{folder}", {"published_split": "test"})
    assert sum(map(len, other.splits.values())) == 6


def test_split_that_is_not_there(folder):
    with pytest.raises(InputError, match="can't be opened: Unknown split"):
        load_task(f"hub:{folder}", {"published_split": "dev"})


def test_data_set_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="can't be opened"):
        load_task(f"hub:{tmp_path / 'nowhere'}", {})


def test_without_the_extra(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'peftlens\[hub\]'"):
        load_task(f"hub:{folder}", {"label": "label", "template": "Q {text}"})

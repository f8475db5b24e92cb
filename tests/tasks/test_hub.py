import json
import sys

import pytest

from peftlens.errors import InputError
from peftlens.tasks import load_task


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    """A data set in the hub's layout: one file for each published split."""
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


def renamed(folder, **names):
    for file in folder.glob("data/*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [{new: row.get(old, 1) for new, old in names.items()} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_two_obvious_columns(folder):
    renamed(folder, review="text", stars="label")
    task = load_task(f"hub:{folder}", {})
    assert task.labels == (" 0", " 1")
    assert task.notes == ("Columns: text = review, label = stars",)


def test_ambiguous_columns_are_listed(folder):
    renamed(folder, a="text", b="more", c="label")
    with pytest.raises(InputError, match="no column 'text'; its columns: a, b, c; write template"):
        load_task(f"hub:{folder}", {})


def test_split_that_is_not_there(folder):
    with pytest.raises(InputError, match="can't be opened: Unknown split"):
        load_task(f"hub:{folder}", {"published_split": "dev"})


def test_data_set_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="can't be opened"):
        load_task(f"hub:{tmp_path / 'nowhere'}", {})


def test_without_the_extra(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"python -m pip install -e .*\[hub\]"):
        load_task(f"hub:{folder}", {"label": "label", "template": "Q {text}"})


@pytest.fixture
def named(tmp_path):
    """A data set whose labels are ids with names, as most classifications on the hub."""
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["World", "Sports"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    columns = {"text": [f"t{n}" for n in range(20)], "label": [n % 2 for n in range(19)] + [-1]}
    (tmp_path / "named" / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(
        tmp_path / "named" / "data" / "train-00000-of-00001.parquet"
    )
    return f"hub:{tmp_path / 'named'}"


def test_names_of_classes_are_the_answers(named):
    task = load_task(named, {})
    assert task.labels == (" Sports", " World")
    assert task.dropped == {"no label": 1}
    for example in task.splits["train"]:
        number = int(example.prompt.removeprefix("t").partition("\n")[0])
        assert example.answers[example.correct] == (" World", " Sports")[number % 2]
    assert load_task(named, {"labels": {"0": "w", "1": "s"}}).labels == (" s", " w")


def test_more_rows_than_the_limit_are_refused(named):
    with pytest.raises(InputError, match="it has 20 rows, and the limit is 19"):
        load_task(named, {"max_rows": 19})


def test_a_damaged_file_is_one_line(folder):
    (folder / "data" / "train.jsonl").write_text('{"text": "a"')
    with pytest.raises(InputError, match="can't be opened") as error:
        load_task(f"hub:{folder}", {})
    assert "\n" not in str(error.value)


def test_a_missing_column_lists_the_present_ones(folder):
    with pytest.raises(InputError, match="has no column 'body'; its columns: text, label"):
        load_task(f"hub:{folder}", {"template": "{body}"})

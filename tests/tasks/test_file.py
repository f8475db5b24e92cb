import json

import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.tasks import load_task

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]


def write(path, rows=ROWS):
    frame = pd.DataFrame(rows)
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }[path.suffix]()
    return f"file:{path}"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_task(tmp_path, suffix):
    task = load_task(write(tmp_path / f"data{suffix}"), {"template": "{text} ->"})
    assert task.labels == (" a", " b")
    assert sum(map(len, task.splits.values())) == 20
    assert all(example.prompt.endswith(" ->") for example in task.splits["test"])


def test_columns_and_labels_by_name(tmp_path):
    rows = [{"body": f"text {i}", "stars": str(i % 2)} for i in range(20)]
    options = {"template": "{body}", "label": "stars", "labels": {"0": "poor", "1": "good"}}
    assert load_task(write(tmp_path / "a.csv", rows), options).labels == (" poor", " good")


def test_cells_that_look_missing_to_pandas_stay_text(tmp_path):
    rows = [*ROWS, {"text": "NA", "label": "a"}, {"text": "null", "label": "b"}]
    task = load_task(write(tmp_path / "a.csv", rows), {"template": "{text}"})
    prompts = [example.prompt for part in task.splits.values() for example in part]
    assert {"NA", "null"} <= set(prompts)


def test_empty_cells_are_left_out_and_counted(tmp_path):
    rows = [*ROWS, {"text": "", "label": "a"}, {"text": "x", "label": ""}]
    assert load_task(write(tmp_path / "a.csv", rows), {}).dropped == {"empty": 1, "no label": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "must end in .csv, .tsv, .json, .jsonl, .parquet"),
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "body,label\nx,a\n", "has no column 'text'; its columns: body, label"),
        ("a.jsonl", "{not json}\n", "can't be read as jsonl"),
        ("a.parquet", "no parquet", "can't be read as parquet"),
        ("a.csv", "text,label\n" + "".join(f"t{i},a\n" for i in range(9)), "one class only"),
        ("a.csv", "text,label\nx,a\ny,b\n", "2 usable examples and needs at least 3"),
    ],
)
def test_files_that_can_not_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_task(f"file:{tmp_path / name}", {})


def test_cells_that_are_too_many_name_the_line(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nfine,a\nHello, world,b\n")
    with pytest.raises(InputError, match="line 3 has more cells than the header; quote them"):
        load_task(f"file:{tmp_path / 'a.csv'}", {})


def test_a_column_without_a_name_is_a_column(tmp_path):
    """As pandas writes its index."""
    rows = pd.DataFrame({"text": [f"t{n}" for n in range(20)], "label": ["a", "b"] * 10})
    rows.to_csv(tmp_path / "a.csv")
    assert load_task(f"file:{tmp_path / 'a.csv'}", {}).labels == (" a", " b")


def test_whole_numbers_with_a_gap_stay_whole(tmp_path):
    rows = [{"text": f"t{i}", "label": i % 2 if i else None} for i in range(20)]
    for suffix in (".jsonl", ".parquet"):
        path = tmp_path / f"a{suffix}"
        frame = pd.DataFrame(rows).astype({"label": "Int64"})
        frame.to_parquet(path) if suffix == ".parquet" else path.write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )
        assert load_task(f"file:{path}", {}).labels == (" 0", " 1")


def test_lone_surrogates_are_counted_and_long_lines_read(tmp_path):
    rows = [*ROWS, {"text": "\ud800", "label": "a"}, {"text": "x" * 1_000_000, "label": "b"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(f"file:{path}", {})
    assert task.dropped == {"not valid Unicode": 1}
    write(tmp_path / "b.csv", rows[:20] + rows[21:])
    assert sum(map(len, load_task(f"file:{tmp_path / 'b.csv'}", {}).splits.values())) == 21


def test_line_separators_inside_a_text_do_not_end_its_line(tmp_path):
    rows = [*ROWS, {"text": "one\u2028two\x85three", "label": "a"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows))
    assert sum(map(len, load_task(f"file:{path}", {}).splits.values())) == 21


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1]\n", "line 1 is not a JSON object"), ("{}\n{\n", "line 2: Expecting")],
)
def test_bad_json_names_the_line(tmp_path, text, message):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        load_task(f"file:{tmp_path / 'a.jsonl'}", {})


def test_a_file_that_changed_is_read_again(tmp_path):
    name = write(tmp_path / "a.csv")
    first = load_task(name, {})
    write(tmp_path / "a.csv", [*ROWS, {"text": "new", "label": "a"}])
    assert load_task(name, {}).sha256 != first.sha256


def test_file_that_is_not_there():
    with pytest.raises(InputError, match="no file 'nowhere.csv'; give a path"):
        load_task("file:nowhere.csv", {})

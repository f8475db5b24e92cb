import itertools
import json
import random
import re

import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.io.rows import save_rows
from peftlens.tasks import load_task

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]


def write(path, rows=ROWS):
    frame = pd.DataFrame(rows)
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
        ".gz": lambda: frame.to_csv(path, index=False),
        ".xlsx": lambda: frame.to_excel(path, index=False),
    }[path.suffix.lower()]()
    return f"file:{path}"


SUFFIXES = (".csv", ".CSV", ".csv.gz", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_task(tmp_path, suffix):
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl")
    task = load_task(write(tmp_path / f"data{suffix}"), {"template": "{text} ->"})
    assert task.labels == (" a", " b")
    assert sum(map(len, task.splits.values())) == 20
    assert all(example.prompt.endswith(" ->") for example in task.splits["test"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_obvious_columns_give_the_task_of_text_and_label(tmp_path, suffix, caplog):
    """The same examples to the byte, whatever the columns are called."""
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl")
    rows = [{"stars": row["label"], "review": row["text"]} for row in ROWS]
    name = write(tmp_path / f"a{suffix}", rows)
    task = load_task(name, {})
    assert task.notes == ("Columns: text = review, label = stars",)
    assert caplog.messages == [f"task {name}: Columns: text = review, label = stars"]
    assert task.sha256 == load_task(write(tmp_path / f"b{suffix}"), {}).sha256
    by_options = {"template": "{review}\nAnswer:", "label": "stars"}
    assert load_task(name, by_options).sha256 == task.sha256


def test_two_obvious_columns_of_a_data_frame():
    rows = [{"review": row["text"], "stars": row["label"]} for row in ROWS]
    task = load_task(f"file:{save_rows(pd.DataFrame(rows))}", {})
    assert task.labels == (" a", " b")
    assert task.notes == ("Columns: text = review, label = stars",)


def test_options_of_reading(tmp_path):
    lines = [f"caf\u00e9 {row['text']};{row['label']}" for row in ROWS]
    path = tmp_path / "a.txt"
    path.write_bytes("\n".join(["text;label", *lines]).encode("cp1252"))
    task = load_task(f"file:{path}", {"separator": ";", "encoding": "cp1252"})
    assert all(one.prompt.startswith("caf\u00e9 text ") for one in task.splits["train"])


def test_a_sheet_is_named(tmp_path):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame(ROWS).to_excel(book, sheet_name="one", index=False)
        pd.DataFrame(ROWS[:9]).to_excel(book, sheet_name="two", index=False)
    name = f"file:{tmp_path / 'a.xlsx'}"
    assert sum(map(len, load_task(name, {"sheet": "two"}).splits.values())) == 9
    with pytest.raises(InputError, match="several sheets; write sheet = one of 'one', 'two'"):
        load_task(name, {})


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
        ("a.doc", "x", "must end in .csv, .tsv, .txt, .json, .jsonl, .parquet, .xlsx"),
        ("a.txt", "x", "its cells need a separator"),
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "a,b,c\nx,y,z\n", "has no column 'text'; its columns: a, b, c; write template"),
        ("a.csv", "x;a\ny;b\n", r'no column .text.; its columns: x;a; .*separator = ";"'),
        ("a.csv", "fine,a\nbad,b\nnot bad,a\n", "its first line looks like data"),
        ("a.csv", "body,label\nx,a\ny,b\n", "2 usable examples"),  # text = body
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


def test_labels_that_look_alike_are_told(tmp_path, caplog):
    rows = [*ROWS, {"text": "more", "label": "a "}, {"text": "most", "label": "a\u00a0"}]
    task = load_task(write(tmp_path / "a.csv", rows), {})
    assert task.labels == (" a", " b")
    (note,) = task.notes
    assert "look alike are one class 'a'" in note
    assert r"'a\xa0' (1 rows)" in caplog.text


def test_class_names_of_a_dataset_are_read_from_its_parquet_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["World", "Sports"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    columns = {"text": [f"t{n}" for n in range(20)], "label": [n % 2 for n in range(20)]}
    data = datasets.Dataset.from_dict(columns, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    task = load_task(f"file:{tmp_path / 'a.parquet'}", {})
    assert task.labels == (" Sports", " World")
    example = task.splits["train"][0]
    number = int(example.prompt.removeprefix("t").partition("\n")[0])
    assert example.answers[example.correct] == f" {names[number % 2]}"


def test_more_rows_than_the_limit_are_refused(tmp_path):
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet"):
        name = write(tmp_path / f"a{suffix}")
        with pytest.raises(InputError, match="the limit is 19; keep fewer rows, or raise max_rows"):
            load_task(name, {"max_rows": 19})
        assert load_task(name, {"max_rows": 20}).labels == (" a", " b")


def flipped(data, place, source):
    return data[:place] + bytes([data[place] ^ 1 << source.randrange(8)]) + data[place + 1 :]


def removed(data, place, source):
    return data[:place] + data[place + source.randrange(1, 9) :]


def inserted(data, place, source):
    odd = source.choice([b"\x00", b'"', b"\xff", b"\r", b"\n", b",", b"{", b"\xc2\xa0"])
    return data[:place] + odd + data[place:]


def cut(data, place, _):
    return data[:place]


def line_repeated(data, _, source):
    lines = data.split(b"\n")
    return b"\n".join([*lines, source.choice(lines)])


def parts_exchanged(data, place, source):
    low, high = sorted((place, source.randrange(len(data))))
    return data[:low] + data[high : high + 20] + data[low + 20 : high] + data[low : low + 20]


def in_another_encoding(data, _, source):
    return data.decode("latin-1").encode(source.choice(["utf-16", "utf-32", "utf-16-le"]))


def overwritten(data, place, source):
    return data[:place] + source.randbytes(3) + data[place + 1 :]


WAYS = (flipped, removed, inserted, cut, line_repeated, parts_exchanged, in_another_encoding,
        overwritten)  # fmt: skip


def counted(data, suffix):
    """Rows of a file, counted without the reader; None where a quote may join lines."""
    if suffix == ".parquet":
        return 20
    text = data.decode("utf-8-sig")
    if suffix == ".json":
        return len(json.loads(text))
    if suffix != ".jsonl" and '"' in text:
        return None
    lines = re.split("\r\n|\r|\n", text)
    if suffix == ".jsonl":
        return sum(bool(line.strip()) for line in lines)
    return sum(map(bool, lines)) - 1


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_mutated_files_give_a_task_or_one_line(suffix, tmp_path):
    """No other exception, and no row that is neither an example nor counted as dropped."""
    source = random.Random(suffix)
    path = tmp_path / f"a{suffix}"
    name = write(path)
    whole, outcomes = path.read_bytes(), {"task": 0, "refused": 0}
    for way in WAYS * 5:
        data = way(whole, source.randrange(len(whole)), source)
        path.write_bytes(data)
        try:
            task = load_task(name, {})
        except InputError as error:
            outcomes["refused"] += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
            continue
        outcomes["task"] += 1
        rows = sum(map(len, task.splits.values())) + sum(task.dropped.values())
        assert counted(data, suffix) in (None, rows), (way, data)
    assert outcomes["refused"] >= 5, outcomes


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_odd_cells_give_a_task_or_one_line(suffix, tmp_path):
    """Cells of other types and odd texts in one row: counted, an example, or refused."""
    odd = ["", " ", "\u00a0", "a ", "A", "\ufeffa", "e\u0301", "NaN", "1.0", "x" * 300_000,
           "\u202eb", "=1+1", '"', "a,b", "a\tb", "a\nb", "{text}", "<|im_start|>"]  # fmt: skip
    if suffix in (".json", ".jsonl"):
        odd += [None, 1, 1.0, True, [], ["a"], {}, {"a": 1}, float("inf"), 10**30]
    for index, (cell, column) in enumerate(itertools.product(odd, ("text", "label"))):
        rows = [*ROWS, {"text": f"odd {index}", "label": "a"} | {column: cell}]
        path = tmp_path / f"{index}{suffix}"
        if suffix in (".json", ".jsonl"):
            lines = map(json.dumps, rows)
            path.write_text(f"[{','.join(lines)}]" if suffix == ".json" else "\n".join(lines))
        else:
            write(path, rows)
        try:
            task = load_task(f"file:{path}", {})
        except InputError as error:
            assert "\n" not in str(error)
            continue
        assert sum(map(len, task.splits.values())) + sum(task.dropped.values()) == 21, cell

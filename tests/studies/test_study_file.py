"""Study files that no study can be made of: one line, at once, whatever is in them."""

import datetime
import json
import os
import random
import time

import pytest

from peftlens.errors import InputError
from peftlens.studies.config import MOST_RUNS, parse
from peftlens.studies.study_file import MOST_BYTES, load, read_text

HEAD = 'name = "x"\n[task]\nname = "boolq"\n'
RUNS = '[[runs]]\nmethod = "lora"\n'
DEEP = 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + RUNS + "grid = { " + ", ".join(f"k{n} = {list(range(10))}" for n in range(9)) + "}",
         "make 1,000,000,000 runs, more than the 10,000 of a study"),
        (f"seeds = {list(range(100_000))}\n" + HEAD + RUNS, "make 100,000 runs"),
        ("a" + ".a" * DEEP + " = 1\n" + HEAD + RUNS, "line 1: a key of more than 20 parts"),
        ('"a"' + ' . "a"' * DEEP + " = 1\n" + HEAD + RUNS, "line 1: a key of more than 20 parts"),
        (HEAD + RUNS + "config = {a" + ".a" * DEEP + " = 1}\n", "line 6: a key of more than 20"),
        (HEAD + RUNS + "[" + "a" + ".a" * DEEP + "]\nx = 1\n", "line 6: a key of more than 20"),
        (HEAD + RUNS + "config = { a = " + "[" * DEEP + "]" * DEEP + " }\n", "nested more than 20"),
        (HEAD + RUNS + "config = { a = " + "[" * 40 + "]" * 40 + " }\n", "line 6: runs.0.config.a"),
        (HEAD + "since = 2020-01-01\n" + RUNS, "line 4: task.since = 2020-01-01 is a date"),
        (HEAD + RUNS + "grid = { rank = [1, 07:32:00] }", "line 6: runs.0.grid.rank.1 = 07:32:00"),
        (HEAD + RUNS + "[full_scale.training]\nmax_steps = 1979-05-27T07:32:00Z\n",
         "line 7: full_scale.training.max_steps = 1979-05-27"),
        (HEAD + RUNS + "config = { alpha = nan }", "line 6: runs.0.config.alpha = nan is not"),
        (HEAD + RUNS + "[training]\nlearning_rate = inf\n", "learning_rate = inf is not a finite"),
        (HEAD + RUNS + f"config = {{ alpha = {'9' * 50} }}", "is a number beyond 64 bits"),
        (HEAD + RUNS + f"config = {{ alpha = {'9' * 5000} }}", "more digits than can be read"),
        (HEAD.replace("boolq", r"file:a\u0000b") + RUNS, "line 3: task.name holds a NUL character"),
        ("seeds = [true]\n" + HEAD + RUNS, "line 1: seeds.0: Input should be a valid integer"),
        ("x" * 10**5 + " = 1\n" + HEAD + RUNS, "line 1: x{60}: unknown key"),
    ],
)  # fmt: skip
def test_it_is_refused_before_anything_is_built_of_it(text, message):
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as error:
        parse(text, "x.toml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert time.monotonic() - began < 60  # one that is built takes for ever, or all memory


def test_as_many_runs_as_a_study_may_have():
    text = f"seeds = {list(range(MOST_RUNS))}\n" + HEAD + RUNS
    assert parse(text, "x.toml").n_runs == MOST_RUNS
    with pytest.raises(InputError, match="10,001 runs"):
        parse(text.replace("[0,", "[0, 10001,"), "x.toml")


def test_the_runs_of_a_sequence_are_counted_with_those_of_each_task_alone():
    tasks = '[continual]\ntasks = [{ name = "a" }, { name = "b" }, { name = "c" }]\n'
    text = f'name = "x"\nseeds = [0, 1]\n{tasks}{RUNS}grid = {{ rank = [1, 2] }}\n'
    assert parse(text, "x.toml").n_runs == 2 * 2 * (3 + 2)  # three alone, two after another


def test_dots_in_texts_are_no_keys():
    modules = ".".join(["layers"] * 50)
    text = HEAD + RUNS + f'config = {{ target_modules = ["{modules}"] }} # {modules}\n'
    text += f"\n[probe_options.x]\na = '''\n{modules} = 1\n'''\nb = inf\n"
    assert parse(text, "x.toml").runs[0].config["target_modules"] == [modules]
    assert load(text, "x.toml")["probe_options"]["x"]["b"] == float("inf")


def test_only_regular_files_of_a_size_are_read(tmp_path):
    file = tmp_path / "x.toml"
    for place in (tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match="is not a text file"):
            read_text(type(tmp_path)(place))
    os.mkfifo(file)
    with pytest.raises(InputError, match="is not a text file"):
        read_text(file)
    file.unlink()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a text file"):
        read_text(file)
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(InputError, match="has 1,000,001 bytes, more than the 1,000,000"):
        read_text(file)


VALUES = (0, -1, 2**70, 1.5, 10**400, float("nan"), "", "x", "\x1b[31m\u202e", "{", "\0", [], [[]],
          {}, {"a": {"b": {"c": []}}}, ["x", 1], True, datetime.date(2020, 1, 1),
          datetime.datetime(2020, 1, 1, 12), datetime.time(1, 2))  # fmt: skip
SEEDS = range(20)


def places(value, place=()):
    """All keys and indices below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*place, key)
        if isinstance(item, dict | list):
            yield from places(item, (*place, key))


def toml(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case datetime.date() | datetime.time():
            return value.isoformat()
    return repr(value)


def document(base, words):
    return {
        "name": "tiny", "base_model": str(base), "device": "cpu", "dtype": "float32",
        "seeds": [0, 1], "probes": ["task_accuracy"],
        "task": {"name": f"file:{words}", "label": "label", "split": {"seed": 0, "test": 0.2}},
        "training": {"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0, 1]},
        "runs": [
            {"method": "lora", "config": {"alpha": 16}, "grid": {"rank": [1, 2]}},
            {"method": "prompt_tuning", "config": {"num_virtual_tokens": 3}},
        ],
        "probe_options": {"forgetting": {"suites": ["wiki"], "items": 5}},
        "full_scale": {"seeds": [0], "training": {"max_steps": 3}},
    }  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_file_is_one_line_or_a_study(seed, run, bases, words, tmp_path):
    rng = random.Random(seed)
    one = document(bases["llama"], words)
    *path, key = rng.choice([*places(one)])
    parent = one
    for part in path:
        parent = parent[part]
    value = rng.choice(VALUES)
    if isinstance(parent, dict) and rng.random() < 0.3:
        parent["an unknown key"] = value
    else:
        parent[key] = value
    file = tmp_path / "x.toml"
    file.write_text("".join(f"{json.dumps(key)} = {toml(item)}\n" for key, item in one.items()))
    code, out, err = run("study", "validate", file)
    assert code in (0, 2), err
    if code == 0:
        assert "No errors found" in out
    else:
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("Error: ")
        assert "x.toml" in err
        assert err.rstrip("\n").isprintable()


def test_an_unchanged_file_is_a_study(run, bases, words, tmp_path):
    file = tmp_path / "x.toml"
    one = document(bases["llama"], words)
    file.write_text("".join(f"{key} = {toml(item)}\n" for key, item in one.items()))
    code, out, _ = run("study", "validate", file)
    assert (code, "6 runs of 3 configurations" in out) == (0, True)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no study file .*nowhere.toml"):
        read_text(tmp_path / "nowhere.toml")

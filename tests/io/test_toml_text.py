import tomllib

import pytest

from peftlens.io.toml_text import to_toml

DOCUMENT = {
    "name": 'a "name"\nwith \\ and \x7f and é',
    "seeds": [0, 1],
    "full": True,
    "small": 1e-05,
    "none": [],
    "task": {"name": "file:a.csv", "split": {"max_train": 8, "odd key": [1.5, "x"]}, "labels": {}},
    "runs": [{"method": "lora", "grid": {"rank": [1, 2]}}, {"method": "full"}],
    "probe_options": {"forgetting": {"suites": ["wiki"]}},
}


def test_a_document_reads_back_as_the_same():
    assert tomllib.loads(to_toml(DOCUMENT)) == DOCUMENT


def test_a_key_without_a_value_is_left_out():
    assert to_toml({"a": None, "b": {"c": None, "d": 1}}) == "\n[b]\nd = 1\n"


def test_numbers_that_are_not_finite():
    assert tomllib.loads(to_toml({"a": float("inf")})) == {"a": float("inf")}


def test_another_kind_of_value():
    with pytest.raises(TypeError, match="is no value of TOML"):
        to_toml({"a": {1, 2}})

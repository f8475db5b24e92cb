import ast

import pytest

from peftlens import registry
from peftlens.errors import InputError


def test_names_are_file_names():
    assert {"bbc_topic", "boolq", "file", "hub", "word_sentiment"} <= set(registry.names("tasks"))


def test_load_imports_the_file():
    assert registry.load("methods", "frozen").FAMILY == "baseline"


def test_check_refuses_a_name_without_importing():
    with pytest.raises(InputError, match="no probe named 'forgeting'; did you mean forgetting"):
        registry.check("probes", "forgeting")


def test_describe_reads_defaults_as_written():
    config = dict(
        (name, default) for name, _, default in registry.describe("tasks", "boolq").config
    )
    assert config["split"] == "Split(max_validation=200, max_test=500)"


def test_describe_reads_inherited_options_too():
    options = [name for name, _, _ in registry.describe("tasks", "file").config]
    assert options == ["kind", "template", "label", "labels", "options", "source", "split"]


@pytest.mark.parametrize(
    ("written", "value"),
    [('frozenset({"b", "a"})', ["a", "b"]), ("frozenset()", []), ("frozenset(COMMON)", None),
     ("1 + one()", None)],
)  # fmt: skip
def test_constants_are_read_where_they_are_literal(written, value):
    assert registry._literal(ast.parse(written, mode="eval").body) == value

import os

import pytest

from peftlens import registry
from peftlens.errors import InputError


def test_names_are_file_names():
    assert {"bbc_topic", "boolq", "file", "hub", "word_sentiment"} <= set(registry.names("tasks"))


def test_packages_are_read_again_only_if_one_may_have_been_installed(monkeypatch, tmp_path):
    reads = []
    monkeypatch.setattr(registry, "entry_points", lambda **group: reads.append(group) or ())
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(3):
        registry.load("tasks", "boolq")
    assert reads == [{"group": "peftlens.tasks"}]
    (tmp_path / "other-1.0.dist-info").mkdir()
    os.utime(tmp_path, ns=(1, 1))  # clocks of file systems may be coarse
    registry.load("tasks", "boolq")
    assert len(reads) == 2
    registry._modules_in.cache_clear()  # of what the patched function gave


def test_load_imports_the_file():
    assert registry.load("methods", "frozen").FAMILY == "baseline"


def test_check_refuses_a_name_without_importing():
    with pytest.raises(InputError, match="no probe named 'forgeting'; did you mean forgetting"):
        registry.check("probes", "forgeting")


def options(kind, name):
    return {option.name: option for option in registry.describe(kind, name).options}


def test_describe_reads_defaults_as_written():
    assert options("tasks", "boolq")["split"].default == "Split(max_validation=200, max_test=500)"
    assert options("tasks", "file")["labels"].default == "dict()"


def test_describe_reads_inherited_options_too():
    found = [name for name in options("tasks", "file") if "." not in name]
    assert found == [
        "kind", "template", "pair", "head", "words", "label", "labels", "options", "label_format",
        "max_rows", "chat_template", "turns", "score", "max_new_tokens", "stop", "source",
        "separator", "quotes", "encoding", "sheet", "split",
    ]  # fmt: skip


def test_an_option_that_is_declared_again_is_the_child_s():
    pissa = options("methods", "pissa")
    assert list(pissa) == ["rank", "alpha", "target_modules"]
    assert (pissa["alpha"].default, options("methods", "lora")["alpha"].default) == ("8.0", "16.0")
    assert pissa["alpha"].meaning.startswith("numerator of the scale; the paper's is 1")


def test_nested_options_have_the_defaults_of_their_place():
    boolq = options("tasks", "boolq")
    assert boolq["split.max_test"].default == "500"
    assert boolq["split.validation"].default == "0.1"
    assert "test examples" in boolq["split.max_test"].meaning


def test_names_of_constants_and_types_are_followed_to_where_they_are_imported_from():
    assert "'passages'" in options("probes", "forgetting")["suites"].default
    assert options("methods", "bottleneck")["placement"].type.startswith("Literal['feed_forward'")


def test_the_meaning_of_an_option_may_take_several_lines():
    meaning = options("methods", "prompt_tuning")["init"].meaning
    assert meaning.startswith('initialization: "vocabulary" (embeddings of common tokens drawn')
    assert meaning.endswith('the rest as for "vocabulary").')


@pytest.mark.parametrize("kind", registry.PARTS)
def test_every_option_of_every_plugin_has_a_meaning(kind):
    missing = [
        f"{kind}/{name}.py: {option.name}"
        for name in registry.names(kind)
        for option in registry.describe(kind, name).options
        if not option.meaning
    ]
    assert not missing


@pytest.mark.parametrize("kind", registry.PARTS)
def test_constants_are_those_of_the_imported_module(kind):
    for name in registry.names(kind):
        module = vars(registry.load(kind, name))
        for constant, value in registry.describe(kind, name).constants.items():
            actual = module[constant]
            expected = sorted(actual) if isinstance(actual, set | frozenset) else actual
            assert value == expected, f"{kind}/{name}.py: {constant}"


@pytest.mark.parametrize("kind", registry.PARTS)
def test_constants_that_lists_show_are_read_from_every_plugin(kind):
    shown = {"FAMILY", "EXPOSES", "LEARNING_RATE", "VERSION", "REQUIRES", "INPUTS", "OPTIONAL",
             "CLAIM", "SOURCE", "NEEDS", "TO_MEASURE", "CRITERION", "PRACTICE"}  # fmt: skip
    for name in registry.names(kind):
        there = shown & set(vars(registry.load(kind, name)))
        assert there <= set(registry.describe(kind, name).constants), f"{kind}/{name}.py"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('frozenset({"b", "a"})', ["a", "b"]),
        ("frozenset()", []),
        ("frozenset(COMMON)", ["x", "y"]),
        ("COMMON", ("y", "x")),
        ("(COMMON, 1)", (("y", "x"), 1)),
        ("1 + one()", None),
        ("MISSING", None),
    ],
)
def test_constants_are_read_where_they_are_literal(written, value, tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(f"COMMON = ('y', 'x')\nV = {written}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry._Module("toy").constants().get("V") == value

"""Scores of other packages, by stand-in entry points."""

import sys
from importlib.metadata import Distribution, EntryPoint
from types import ModuleType

import numpy as np
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import external_scores
from peftlens.evaluation.answer_scores import require_score, score
from peftlens.evaluation.probe_runner import run_probe


class Package(Distribution):
    """A package without files."""

    def read_text(self, filename):
        return "Name: strict-scores\nVersion: 3.1\n" if filename == "METADATA" else None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.fixture
def provide(monkeypatch):
    """Let a package provide a score."""
    module = ModuleType("strict_scores")
    monkeypatch.setitem(sys.modules, "strict_scores", module)

    def add(function, *names, value="strict_scores:function"):
        module.function = function
        points = [
            EntryPoint(name, value, external_scores.GROUP)._for(Package())
            for name in names or ["strict"]
        ]
        monkeypatch.setattr(external_scores, "entry_points", lambda **_: points)

    return add


def test_it_gets_the_text_and_all_references(provide):
    seen = []
    provide(lambda *given: seen.append(given) or 0.25)
    assert score("strict", "four", ["4", "four"]) == 0.25
    assert seen == [("four", ("4", "four"))]


@pytest.mark.parametrize(("value", "expected"), [(True, 1), (np.float32(0.5), 0.5), (0, 0)])
def test_numbers_of_any_kind(provide, value, expected):
    provide(lambda *_: value)
    assert score("strict", "a", ["b"]) == expected


@pytest.mark.parametrize("value", [None, "0.5", [1.0], 1.5, -0.1, float("nan")])
def test_anything_else_than_a_number_from_0_to_1_is_one_line(provide, value):
    provide(lambda *_: value)
    said = r"score 'strict' of package strict-scores returned .* for the answer 'a'; it has to"
    with pytest.raises(InputError, match=said):
        score("strict", "a", ["b"])


def test_what_it_raises_is_one_line(provide):
    provide(lambda *given: given[5])
    with pytest.raises(InputError, match="fails on the answer 'a': IndexError: tuple index"):
        score("strict", "a", ["b"])


def test_an_unknown_one_lists_them_all(provide):
    provide(lambda *_: 1.0)
    with pytest.raises(InputError, match="no score named 'absent'; choose from .* strict"):
        require_score("absent")
    with pytest.raises(InputError, match="measure the runs by the probes harness_items"):
        require_score("lm_eval:gsm8k")


@pytest.mark.parametrize("names", [("bleu",), ("strict", "strict")])
def test_a_name_that_is_taken(provide, names):
    provide(lambda *_: 1.0, *names)
    with pytest.raises(InputError, match="strict-scores provides a score named .* exists already"):
        score("strict", "a", ["b"])


@pytest.mark.parametrize(
    ("value", "said"),
    [("strict_scores:absent", "can't be imported: .*'absent'"), ("no_such_module:f", "can't be"),
     ("strict_scores:__name__", "is no function; name one")],
)  # fmt: skip
def test_one_that_can_not_be_loaded(provide, value, said):
    provide(lambda *_: 1.0, value=value)
    with pytest.raises(InputError, match=said):
        require_score("strict")


def test_a_run_is_scored_by_it_and_depends_on_its_version(provide, bases, tmp_path, context):
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"word {n},answer {n}\n" for n in range(20)))
    provide(lambda text, references: len(references) / 4 if isinstance(text, str) else 0.0)

    def train(score):
        config = peftlens.RunConfig(
            method="frozen", task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32",
            task_config={"kind": "generation", "score": score, "max_new_tokens": 2},
        )  # fmt: skip
        return peftlens.train(config, tmp_path / "runs")

    run = train("strict")
    assert run_probe(context, run, "task_items").frame["score"].tolist() == [0.25] * 4
    assert run.record.depends_on["versions"]["strict-scores"] == "3.1"
    with pytest.raises(InputError, match="no score named 'absent'"):
        train("absent")

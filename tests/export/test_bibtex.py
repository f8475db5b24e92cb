import re

import finished
import homes
import pytest

from peftlens import registry
from peftlens.export import bibtex
from peftlens.models.built_in import BUILT_IN
from peftlens.results import study_results


def test_every_paper_that_a_plugin_names_has_an_entry():
    known = bibtex.references()
    for name in registry.names("methods"):
        source = registry.describe("methods", name).source
        if source:
            assert bibtex.paper("methods", name, known), name
    for name in ("bbc_topic", "word_sentiment", "boolq", "piqa", "openbookqa", "commonsenseqa"):
        assert bibtex.paper("tasks", name, known), name
    assert set(BUILT_IN) <= set(known)


def test_entries_are_whole():
    for entry in set(bibtex.references().values()):
        assert entry.count("{") == entry.count("}")
        assert "title = {{" in entry
        number = re.search(r"eprint = \{(.*)\}", entry)
        assert number is None or f"abs/{number[1]}" in entry


def test_a_study_cites_tool_base_methods_and_data_once(tmp_path):
    configs = [finished.lora(1, 0), finished.lora(2, 0), finished.plain("dora", 0)]
    one = study_results.read(finished.study(tmp_path, configs, probes=("cost",), name="my & study"))
    text = bibtex.bibtex([one, one])
    keys = re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)
    assert keys == ["peftlens", "smollm2-135m", "lora", "dora", "bbc_topic"]
    assert rf"my \& study: SHA-256 {one.sha256}" in text


def test_twice_the_runs_parse_no_more_sources(tmp_path, monkeypatch):
    parsed, describe = [], registry.describe
    monkeypatch.setattr(
        registry, "describe", lambda *plugin: parsed.append(plugin) or describe(*plugin)
    )
    for seeds in (2, 4):
        configs = [finished.lora(1, seed) for seed in range(seeds)]
        folder = finished.study(tmp_path / str(seeds), configs, probes=("cost",))
        results = study_results.read(folder)
        parsed.clear()
        bibtex.bibtex([results])
        assert parsed == [("methods", "lora"), ("tasks", "bbc_topic")]


def test_what_has_no_paper_is_named_with_its_hash(tmp_path):
    config = finished.lora(1, 0).model_copy(
        update={"base_model": f"{homes.LINUX}/models/mine", "task": "hub:org/data@main"}
    )
    one = study_results.read(finished.study(tmp_path, [config], probes=("cost",)))
    text = bibtex.bibtex([one])
    assert "@misc{mine," in text
    assert f"SHA-256 of its weights: {finished.BASE}" in text
    assert "title = {{org/data@main}},\n  howpublished = {Hugging Face Hub}" in text
    assert "home" not in text


@pytest.mark.parametrize(
    ("reference", "is_on_hub"),
    [
        ("org/model", True),
        ("org/model@main", True),
        ("hub:org/data", True),
        ("./my-model", False),
        ("../my-model", False),
        ("models/mine", False),
        ("/models/mine", False),
        ("~/mine", False),
        ("file:data/mine.csv", False),
        ("my-model", False),
    ],
)
def test_only_what_is_of_the_hub_is_said_to_be(reference, is_on_hub, tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert ("Hugging Face Hub" in bibtex._named(reference, "weights", None)) == is_on_hub

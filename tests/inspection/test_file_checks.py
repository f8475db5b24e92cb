"""Rules on an adapter's two files, each with a damage that it must name."""

import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file

from peftlens.adapters.adapter_file import read
from peftlens.inspection.file_checks import check_file


@pytest.fixture
def saved(tmp_path):
    def make(kind="LORA", **changes):
        return theirs.save(theirs.wrapped(kind, **changes), tmp_path / "hers", "org/base")

    return make


def rewrite(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def said(folder):
    return [(one.severity, one.text) for one in check_file(read(folder)) if one.severity != "ok"]


@pytest.mark.parametrize("kind", theirs.BUILDABLE)
def test_nothing_is_said_of_a_sound_adapter(kind, saved):
    assert said(saved(kind)) == []


@pytest.mark.parametrize(
    ("change", "severity", "text"),
    [
        (lambda n: f"_orig_mod.{n}", "broken", "hold _orig_mod, the name of a wrapper"),
        (lambda n: n.removeprefix("base_model.model."), "warning", "do not begin with base_model"),
        (lambda n: n.replace("layers.1", "layers.7"), "warning", "unequally spaced layers"),
        (lambda n: n.replace("q_proj", "k_proj"), "broken", "not among those that its config"),
        (lambda n: n.replace("lora_A", "lora_X"), "broken", "does not know, and ignores"),
    ],
)
def test_names(saved, change, severity, text):
    folder = saved()
    rewrite(folder, lambda tensors: {change(name): t for name, t in tensors.items()})
    assert any(one == severity and text in words for one, words in said(folder))


def test_options_without_their_tensors(saved):
    folder = saved(use_dora=True)
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "magnitude" not in n})
    assert ("broken", "Its use_dora is on, but it holds no lora_magnitude_vector.") in said(folder)
    folder = saved(modules_to_save=["lm_head"])
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "lm_head" not in n})
    assert ("broken", "It lists lm_head as saved whole, but lacks it.") in said(folder)


def test_a_shape_unlike_the_others(saved):
    folder = saved()
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    rewrite(folder, lambda tensors: tensors | {name: torch.ones(16, 8)})
    assert any("1 tensors have another shape" in words for _, words in said(folder))


def test_fields_that_are_missing_or_unknown(saved):
    folder = saved()
    file = folder / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha"', '"lora_alfa"'))
    words = " ".join(text for _, text in said(folder))
    assert "lacks lora_alpha, for which peft takes its default: lora_alpha = 8" in words
    assert "fields that this version of peft ignores: lora_alfa" in words


@pytest.mark.parametrize(
    ("name", "local"),
    [
        (r"C:\Users\someone\llama", True),
        (r"\\server\share\llama", True),
        ("C:/models/llama", True),
        ("/".join(("", "home", "someone", "llama")), True),  # made up, and no path of a machine
        ("~/llama", True),
        ("./llama", True),
        ("a/b/c", True),
        ("org/model", False),
        ("smollm2-135m", False),
    ],
)
def test_paths_of_any_system_are_paths(saved, name, local):
    folder = saved()
    theirs.edit(folder, base_model_name_or_path=name)
    words = " ".join(text for _, text in said(folder))
    assert ("names a local folder" in words) is local
    assert "someone" not in words

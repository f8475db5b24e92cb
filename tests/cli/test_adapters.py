import json

import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file


def test_another_base_does_not_fit(peft_adapter, bases, run):
    folder = peft_adapter()
    code, out, _ = run("inspect", folder, "--base", bases["gpt2"])
    assert code == 1
    assert "does not fit" in out
    assert "as its base model, not" in out


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda t: {n: torch.full_like(v, torch.nan) for n, v in t.items()}, "hold NaN"),
        (lambda t: {n: v for n, v in t.items() if "lora_B" not in n}, "modules lack lora_B"),
        (lambda _: {}, "holds no tensors"),
    ],
)
def test_damage_is_a_finding_and_the_exit_code_says_so(damage, text, peft_adapter, run):
    folder = peft_adapter()
    file = folder / "adapter_model.safetensors"
    save_file(damage(load_file(file)), file)
    code, out, _ = run("inspect", folder, "--json")
    assert code == 1
    found = json.loads(out)
    assert found["broken"]
    assert text in found["findings"][0]["text"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lora_alpha": "16"}, "lora_alpha='16'"),
        ({"peft_type": "NEWEST"}, "does not support"),
        ({"r": 10_000_000}, "says rank 10000000"),
    ],
)
def test_a_configuration_that_can_not_be_is_a_finding(changes, text, peft_adapter, run):
    folder = peft_adapter()
    theirs.edit(folder, **changes)
    code, out, _ = run("inspect", folder)
    assert code == 1
    assert text in " ".join(out.split())


def test_json_is_strict_and_whole(peft_adapter, run):
    code, out, _ = run("inspect", peft_adapter(), "--json")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert code == 0
    assert found["about"]["type"] == "LORA"
    assert len(found["tables"]["adapter_weights"]) == 6


def test_a_page_has_findings_and_figures(peft_adapter, run, tmp_path):
    code, _, _ = run("inspect", peft_adapter(), "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert code == 0
    assert "All 6 adapted weights have an update." in page
    assert "Size of the update" in page
    assert "claims not measured" not in page


def test_report_of_an_adapter_is_its_inspection(peft_adapter, run, tmp_path):
    code, out, _ = run("report", peft_adapter())
    assert code == 0
    assert out.strip() == "report.html"
    assert "All 6 adapted weights have an update." in (tmp_path / "report.html").read_text()


def test_no_adapter_is_the_users_mistake(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("inspect", tmp_path / "empty")
    assert code == 2
    assert "is not an adapter: it has no adapter_config.json" in err


def test_what_an_adapter_learned_is_told(peft_adapter, bases, run, tmp_path):
    folder = peft_adapter()
    code, out, _ = run("inspect", folder, "--base", bases["llama"], "--html", tmp_path / "a.html")
    assert code == 0
    assert "What did it learn? LORA hers: " in out
    assert "its training text is unknown, give training_text" in " ".join(out.split()).lower()
    assert "What did it learn?" in (tmp_path / "a.html").read_text()
    code, _, err = run("inspect", folder, "--training-text", tmp_path / "nothing")
    assert code == 2
    assert "nothing' is not a text file" in err

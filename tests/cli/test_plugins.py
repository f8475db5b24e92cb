import json

import pytest

from peftlens.cli import plugins


def test_methods_show_family_source_and_what_merges(capsys):
    plugins.methods()
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.strip().startswith("qlora "))
    assert "reparametrization" in line
    assert "arXiv:2305.14314" in line
    assert "yes" in line
    assert "trained" not in out.splitlines()[1]
    assert "Not supported in peft:TYPE: XLORA" in out


def test_methods_counted_on_a_base(capsys, bases):
    plugins.methods(base=str(bases["llama"]))
    out = capsys.readouterr().out
    assert "trained" in out.splitlines()[1]
    assert "this model has no biases" in out


def test_methods_as_markdown(capsys):
    plugins.methods(output="markdown")
    assert "| `lora` | LoRA: train a low-rank update" in capsys.readouterr().out


def test_one_type_of_peft_shows_the_generic_method(capsys):
    plugins.methods("peft:GRALORA")
    assert "options" in capsys.readouterr().out


@pytest.mark.parametrize("command", [plugins.tasks, plugins.probes])
def test_others_as_json(capsys, command):
    command(as_json=True)
    assert all(row["summary"] for row in json.loads(capsys.readouterr().out))

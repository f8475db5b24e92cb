"""An outline has the modules of the model itself, and is read from config.json alone."""

import json

import pytest
from tiny import build
from torch import nn

from peftlens.errors import InputError
from peftlens.models.outline import read_outline


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_its_modules_are_those_of_the_model(kind, tmp_path):
    model = build(kind)
    model.config.save_pretrained(tmp_path)
    found = read_outline(str(tmp_path))
    plain = {
        name: tuple(one.weight.shape)
        for name, one in model.named_modules(remove_duplicate=False)
        if isinstance(one, (nn.Linear, nn.Embedding))
    }
    assert plain.items() <= found.modules.items()
    assert found.architecture == type(model).__name__
    assert found.vocabulary == 259
    assert found.layers == {"llama": 3}.get(kind, 2)


def test_layers_with_transposed_weights_are_turned(tmp_path):
    build("gpt2").config.save_pretrained(tmp_path)
    modules = read_outline(str(tmp_path / "config.json")).modules
    assert modules["transformer.h.0.attn.c_attn"] == (96, 32)  # queries, keys and values of 32


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1e.09 is more than 1,000"),
        ({"auto_map": {"AutoConfig": "evil.Config"}}, "auto_map, which runs code"),
        ({"model_type": "unheard"}, "config.json can't be used"),
        ({"hidden_size": "wide"}, "config.json can't be used"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused(changes, text, tmp_path):
    build("llama").config.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=text) as error:
        read_outline(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_without_configuration_is_told(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json; give"):
        read_outline(str(tmp_path))

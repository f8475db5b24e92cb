import json
import os
import shutil

import pytest

from peftlens.errors import InputError
from peftlens.models import model_folder
from peftlens.models.base_model import folder_sha256, load_base_model
from peftlens.models.model_folder import check, read_json


@pytest.fixture
def folder(bases, tmp_path):
    """A copy of the tiny Llama's folder, to be damaged."""
    return shutil.copytree(bases["llama"], tmp_path / "model")


@pytest.fixture
def configure(folder):
    """Change values of config.json."""

    def change(**values):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": ["llama"]}, r"config.json: model_type=\['llama'\] must be a text"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1e.06 is more than the weights' 2"),
        ({"text_config": {"n_layer": 10**6}}, "n_layer=1e.06 is more than"),
        ({"head_dim": 10**9}, "head_dim=1e.09 is more than the weights' .* bytes"),
        ({"quantization_config": []}, r"quantization_config=\[\] must be an object"),
    ],
)
def test_values_that_could_not_be_built(configure, folder, values, message):
    configure(**values)
    with pytest.raises(InputError, match=message):
        check(folder, trust_remote_code=False)


@pytest.mark.parametrize("values", [{"max_window_layers": 28}, {"max_position_embeddings": 10**9}])
def test_values_that_are_no_size_of_the_weights(configure, folder, values):
    configure(**values)
    check(folder, trust_remote_code=False)


@pytest.mark.parametrize(
    ("method", "package"),
    [("gptq", "gptqmodel"), ("awq", "gptqmodel"), ("compressed-tensors", "compressed-tensors"),
     ("hqq", "hqq"), ("torchao", "torchao"), ("bitsandbytes", "bitsandbytes")],
)  # fmt: skip
def test_a_missing_package_is_named(configure, folder, monkeypatch, method, package):
    monkeypatch.setattr(model_folder, "find_spec", lambda _: None)
    configure(quantization_config={"quant_method": method})
    with pytest.raises(InputError, match=f"python -m pip install {package}$"):
        check(folder, trust_remote_code=False)


def test_the_second_of_two_packages_is_named(configure, folder, monkeypatch):
    monkeypatch.setattr(model_folder, "find_spec", lambda name: None if name == "optimum" else name)
    configure(quantization_config={"quant_method": "gptq"})
    with pytest.raises(InputError, match="python -m pip install optimum$"):
        check(folder, trust_remote_code=False)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_to_devices_are_refused_unread(folder, name):
    (folder / name).unlink()
    os.symlink("/dev/zero", folder / name)
    with pytest.raises(InputError, match=f"{name} is not a regular file"):
        check(folder, trust_remote_code=False)


def test_a_pipe_beside_the_weights(folder):
    os.mkfifo(folder / "more.safetensors")
    with pytest.raises(InputError, match="more.safetensors is not a regular file"):
        check(folder, trust_remote_code=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[" * 100_000, "nested too deeply"), ("[]", "no object in braces"), ("{", "is damaged")],
)
def test_json_that_is_no_object(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "config.json")


def test_json_without_end(folder, monkeypatch):
    monkeypatch.setattr(model_folder, "_LARGEST_JSON", 100)
    with pytest.raises(InputError, match="bytes; at most 100 are read"):
        check(folder, trust_remote_code=False)


@pytest.mark.parametrize("value", [None, "text", [], {}, 0, -1, 3.5, True])
@pytest.mark.parametrize(
    "key", ["hidden_size", "num_attention_heads", "hidden_act", "rope_parameters", "vocab_size"]
)
def test_values_of_other_types_open_or_end_in_a_line(configure, folder, key, value):
    configure(**{key: value})
    try:
        load_base_model(str(folder), device="cpu", dtype="float32")
    except InputError as error:
        assert "\n" not in str(error)


def test_a_file_managers_files_are_no_weights(bases, folder):
    for name in ("._model.safetensors", "._config.json"):
        (folder / name).write_bytes(b"x")
    check(folder, trust_remote_code=False)
    assert folder_sha256(folder) == folder_sha256(bases["llama"])

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny import build, byte_tokenizer

from peftlens.errors import InputError
from peftlens.models import base_model as module
from peftlens.models.base_model import (
    folder_sha256,
    load_base_model,
    locate,
    resolve,
)


@pytest.fixture
def folder(bases, tmp_path):
    """A copy of the tiny Llama's folder, to be damaged."""
    return shutil.copytree(bases["llama"], tmp_path / "model")


def opened(folder, **options):
    return load_base_model(str(folder), device="cpu", dtype="float32", **options)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_opens_a_local_folder(bases, kind):
    base = opened(bases[kind])
    assert base.model.config.model_type == kind
    assert base.dtype == "float32"
    assert not base.model.training
    expected = build(kind).state_dict()
    assert all(
        torch.equal(expected[name], value) for name, value in base.model.state_dict().items()
    )


def test_opens_a_hub_id_with_revision_from_the_hubs_cache(bases, tmp_path, monkeypatch):
    """The layout that huggingface_hub writes: snapshots by commit, names by ref."""
    commit = "a" * 40
    repo = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(bases["llama"], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "v1").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import huggingface_hub

    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *a, **k: real(*a, cache_dir=str(tmp_path / "hub"), local_files_only=True, **k),
    )
    assert locate("org/tiny@v1") == repo / "snapshots" / commit
    base = opened("org/tiny@v1")
    assert base.model.config.name_or_path == "org/tiny@v1"  # no path of this machine
    with pytest.raises(InputError, match="neither a folder nor available from the hub"):
        locate("org/tiny@v2")


def test_name_like_nothing():
    with pytest.raises(
        InputError, match="no base model named 'not a model'; built in: smollm2-135m"
    ):
        locate("not a model")


def test_missing_gguf_file():
    with pytest.raises(InputError, match="no file 'nowhere.gguf'; give the path"):
        locate("nowhere.gguf")


@pytest.mark.parametrize("name", ["SmolLM2-135M", "smolm2-135m", "smollm2_135m"])
def test_a_misspelled_built_in_base_is_named_without_a_network(name):
    with pytest.raises(InputError, match=f"{name}'; did you mean smollm2-135m"):
        locate(name)


def test_file_that_is_no_gguf(tmp_path, monkeypatch):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"bad.gguf can't be read as GGUF"):
        locate(str(tmp_path / "bad.gguf"))
    assert not list((tmp_path / "cache" / "models").glob("gguf-*/"))


def test_folder_without_config(tmp_path):
    with pytest.raises(InputError, match="is not a model folder: it has no config.json"):
        opened(tmp_path)


def test_folder_with_an_adapter_in_it(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an adapter next to a model"):
        opened(folder)


@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation_internal"])
def test_config_that_would_run_code(folder, key):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: {"AutoConfig": "evil.Config"}}))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="which runs code; allow it by --trust-remote-code"):
        opened(folder)
    assert not (folder / "ran").exists()


def test_pickled_weights_are_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match=r"has no .safetensors weights"):
        opened(folder)


def test_truncated_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="can't be loaded"):
        opened(folder)


def test_bad_json(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json is damaged"):
        opened(folder)


def test_fingerprint_changes_with_weights_and_tokenizer_only(folder):
    before = folder_sha256(folder)
    (folder / "README.md").write_text("x")
    assert folder_sha256(folder) == before
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert folder_sha256(folder) != before


def test_resolve_keeps_what_is_asked_for():
    assert resolve("cpu", "float32") == ("cpu", "float32")


@pytest.mark.parametrize(
    ("has_instructions", "seconds", "expected"),
    [(True, 0.5, "bfloat16"), (True, 1.7, "float32"), (False, 0.5, "float32")],
)
def test_auto_dtype_is_the_faster_one(monkeypatch, has_instructions, seconds, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    times = {torch.bfloat16: seconds, torch.float32: 1.0}
    monkeypatch.setattr(module, "_product_seconds", times.__getitem__)
    module._cpu_is_faster_in_bfloat16.cache_clear()
    assert resolve("cpu", "auto") == ("cpu", expected)
    module._cpu_is_faster_in_bfloat16.cache_clear()


def test_the_time_of_a_product_is_the_shortest_of_several(monkeypatch):
    def repeat(product, **_):
        assert product().dtype == torch.bfloat16
        return [3.0, 1.0, 2.0]

    monkeypatch.setattr(module.timeit, "repeat", repeat)
    assert module._product_seconds(torch.bfloat16) == 1.0


def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="this machine has none; choose cpu"):
        resolve("cuda", "auto")


def test_derived_values_are_computed_once_and_the_oldest_goes_first(llama):
    computed = []

    def value(key):
        return llama.derived("squares", lambda: computed.append(key) or key**2, key=key, most=2)

    assert [value(2), value(3), value(2)] == [4, 9, 4]
    assert computed == [2, 3]
    value(4)  # 3 was used before 2
    value(2)
    assert computed == [2, 3, 4]
    value(3)
    assert computed == [2, 3, 4, 3]


def test_values_of_other_names_and_other_models_are_apart(llama, bases):
    other = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    assert llama.derived("one", lambda: 1) == 1
    assert llama.derived("two", lambda: 2) == 2
    assert other.derived("one", lambda: 3) == 3
    assert llama.derived("one", lambda: 4) == 1


@pytest.mark.slow
def test_the_built_in_model_is_a_language_model():
    base = load_base_model("smollm2-135m")
    assert sum(p.numel() for p in base.model.parameters()) == 134_515_008
    ids = base.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        best = base.model(ids).logits[0, -1].argmax().item()
    assert base.tokenizer.decode([best]) == " Paris"


def test_weights_are_spread_only_where_there_are_several_gpus(monkeypatch):
    assert module._placement("cpu") == {}
    gpus = [SimpleNamespace(total_memory=10), SimpleNamespace(total_memory=20)]
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(module.torch.cuda, "get_device_properties", gpus.__getitem__)
    found = module._placement("cuda")
    assert found == {"device_map": "sequential", "max_memory": {0: 7, 1: 14}}
    assert module._placement("cpu") == {}
    gpus.pop()
    assert module._placement("cuda") == {}


@pytest.mark.parametrize("start", [None, 259, -1, "0"])
def test_a_decoder_without_a_first_token(bases, tmp_path, start):
    folder = shutil.copytree(bases["t5"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"decoder_start_token_id": start}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="decoder_start_token_id"):
        opened(folder)


def test_a_pad_token_without_a_row_is_replaced(folder):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(folder)
    base = opened(folder)
    assert base.tokenizer.pad_token_id == 0
    assert base.tokenizer.embedding_rows == 259

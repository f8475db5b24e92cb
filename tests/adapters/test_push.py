"""Pushed repositories, in a folder that stands in for the hub, open with plain peft."""

import json

import hub_server
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

import peftlens
from peftlens.adapters.push import push
from peftlens.errors import InputError
from peftlens.runs.run import Run

IDS = torch.arange(3, 19).reshape(2, 8)
FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors",
         "peftlens/metrics.jsonl", "peftlens/run.json", "peftlens/timing.jsonl"]  # fmt: skip


def trained(bases, words, folder, method, **config):
    return peftlens.train(
        peftlens.RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config=config,
            training={"max_steps": 2, "batch_size": 4, "learning_rate": 0.1},
        ),
        folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lora(bases, words, tmp_path_factory):
    return trained(bases, words, tmp_path_factory.mktemp("runs"), "lora", rank=2)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_what_is_pushed_opens_with_plain_peft(method, bases, words, tmp_path, monkeypatch):
    one = trained(bases, words, tmp_path / "runs", method)
    with hub_server.serving(tmp_path / "hub", monkeypatch) as seen:
        files, address = push(one, "org/name", base_model="org/tiny@v2", private=True)
    assert files == FILES
    assert address == f"https://huggingface.co/org/name/commit/{'a' * 40}"
    folder = tmp_path / "hub" / "org" / "name"
    assert sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()) == FILES
    created = next(json.loads(body) for path, body in seen if path == "/api/repos/create")
    assert created["visibility"] == "private"
    base = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    own, _ = one.load(device="cpu")
    with torch.no_grad():
        expected = own(input_ids=IDS).logits
        assert torch.equal(model(input_ids=IDS).logits, expected)
        plain = AutoModelForCausalLM.from_pretrained(bases["llama"], dtype=torch.float32)
        unchanged = plain(input_ids=IDS).logits
    assert not torch.allclose(unchanged, expected[:, -unchanged.shape[1] :])
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/tiny", "v2")
    assert config.get("tokenizer_name_or_path") in (None, "org/tiny")
    assert str(bases["llama"]) not in (folder / "adapter_config.json").read_text()
    adapter = peftlens.load_adapter(folder, base_model=str(bases["llama"]))
    assert adapter.file.is_peft_type


def test_the_card_and_the_record(lora, tmp_path, monkeypatch):
    with hub_server.serving(tmp_path, monkeypatch) as seen:
        push(lora, "org/name", base_model="org/tiny", revision="v1", message="A first one")
    card = (tmp_path / "org" / "name" / "README.md").read_text()
    assert "base_model: org/tiny\n" in card
    assert 'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("org/tiny")' in card
    assert f"| trainable_parameters | {lora.results['trainable_parameters']} |" in card
    assert "| rank | 2 |" in card
    record = json.loads((tmp_path / "org" / "name" / "peftlens" / "run.json").read_text())
    assert (record["id"], record["results"]) == (lora.id, dict(lora.results))
    paths = [path for path, _ in seen]
    assert "/api/models/org/name/branch/v1" in paths
    body = next(body for path, body in seen if path == "/api/models/org/name/commit/v1")
    assert json.loads(body.splitlines()[0])["value"]["summary"] == "A first one"


def test_a_dry_run_sends_nothing(lora, tmp_path, monkeypatch):
    with hub_server.serving(tmp_path, monkeypatch) as seen:
        assert push(lora, "org/name", base_model="org/tiny", dry_run=True) == (FILES, None)
    assert seen == []


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_reads", "did not take org/name: .*403.*; the token may not write there"),
        ("hf_nothing", "did not take org/name: .*401.*; the token is not valid"),
        ("", "a push needs a token with write access; set HF_TOKEN"),
    ],
)
def test_refused_tokens_are_one_line(lora, tmp_path, monkeypatch, token, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with (
        hub_server.serving(tmp_path, monkeypatch, token),
        pytest.raises(InputError, match=message) as caught,
    ):
        push(lora, "org/name", base_model="org/tiny")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("org"))


def test_no_network_is_one_line(lora, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, and a push needs the hub"):
        push(lora, "org/name", base_model="org/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="did not take org/name: .*can be reached"):
        push(lora, "org/name", base_model="org/tiny")


def test_what_nobody_could_load_is_refused(bases, words, lora, tmp_path):
    other = trained(bases, words, tmp_path / "runs", "bottleneck")
    with pytest.raises(InputError, match="a run of bottleneck, which plain peft can't load"):
        push(other, "org/name", base_model="org/tiny", dry_run=True)
    with pytest.raises(InputError, match="others can't load; name it on the hub by --base"):
        push(lora, "org/name", dry_run=True)
    for name in ("a//b", "org/na me"):
        with pytest.raises(InputError, match="is no name of a repository; write org/name"):
            push(lora, name, base_model="org/tiny", dry_run=True)
    with pytest.raises(InputError, match="is not a run: it has no run.json"):
        push(Run(tmp_path), "org/name", dry_run=True)


def test_the_command_lists_the_files(run, lora):
    code, out, err = run("push", lora.path, "org/name", "--base", "org/tiny", "--dry-run")
    assert code == 0, err
    assert out.splitlines()[:-1] == FILES
    assert out.splitlines()[-1] == "Nothing was sent; these files would be in org/name"

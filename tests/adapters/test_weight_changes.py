"""All that tuning changed is either an update for a LoRA, or told as lost."""

import json

import pytest
import theirs
import torch
from tiny import build

from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.weight_changes import changes_of_model, changes_of_run
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model


@pytest.fixture
def tuned(bases, tmp_path):
    """Fine-tuned copies of the tiny Llama, changed by a function."""

    def make(change):
        model = build("llama")
        with torch.no_grad():
            change(model)
        model.save_pretrained(tmp_path / "tuned")
        source = bases["llama"]
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / "tuned" / name).write_bytes((source / name).read_bytes())
        return load_base_model(str(tmp_path / "tuned"), device="cpu", dtype="float32")

    return make


def test_matrices_are_carried_and_norms_are_lost(tuned, llama):
    def change(model):
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 0.5
        model.model.norm.weight[3] += 0.25

    found = changes_of_model(tuned(change), llama)
    assert [one.modules for one in found.updates] == [("model.layers.1.mlp.up_proj",)]
    assert found.updates[0].delta.change[0, 0] == pytest.approx(0.5)
    assert [(one.weight, one.norm) for one in found.lost] == [
        ("model.norm.weight", pytest.approx(0.25))
    ]


def test_a_tied_table_is_carried_for_the_head_too(tuned, llama):
    found = changes_of_model(tuned(lambda m: m.model.embed_tokens.weight.add_(0.1)), llama)
    (one,) = found.updates
    assert one.modules == ("model.embed_tokens", "lm_head")
    assert one.is_table == (True, False)


def test_an_adapted_table_alone_is_not_the_head(bases, llama, tmp_path):
    model = theirs.wrapped("LORA", target_modules=["embed_tokens"])
    folder = theirs.save(model, tmp_path / "a", str(bases["llama"]))
    (one,) = changes_of_run(ExternalAdapter(folder), llama).updates
    assert one.modules == ("model.embed_tokens",)


def test_trained_biases_and_whole_layers(bases, llama, tmp_path):
    model = theirs.wrapped("LORA", modules_to_save=["model.norm"])
    folder = theirs.save(model, tmp_path / "a", str(bases["llama"]))
    found = changes_of_run(ExternalAdapter(folder), llama)
    assert [one.weight for one in found.lost] == ["model.norm.weight"]
    assert len(found.updates) == 6


def test_added_tokens_are_refused(bases, llama, tmp_path):
    base = build("llama")
    base.resize_token_embeddings(264)
    import peft

    model = peft.get_peft_model(base, theirs.config("LORA"))
    folder = tmp_path / "a"
    model.save_pretrained(folder, save_embedding_layers=True)
    theirs.edit(folder, base_model_name_or_path=str(bases["llama"]))
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    with pytest.raises(InputError, match="tables of 264 tokens.*a LoRA adds no tokens"):
        changes_of_run(ExternalAdapter(folder), llama)

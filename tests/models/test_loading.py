import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForQuestionAnswering

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head, unnamed_labels
from peftlens.models.loading import load_proven, reported_as, summary


@pytest.fixture
def folder(bases, tmp_path):
    """A copy of the tiny Llama's folder, to be damaged; its head is tied to the table."""
    return shutil.copytree(bases["llama"], tmp_path / "model")


@pytest.fixture
def rewrite(folder):
    """Replace the folder's tensors by those that a function makes of them."""

    def write(change, **config):
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
        values = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(values))

    return write


def opened(folder):
    return load_base_model(str(folder), device="cpu", dtype="float32")


def prefixed(prefix):
    return lambda tensors: {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def without(part):
    return lambda tensors: {name: t for name, t in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (prefixed("_orig_mod."), r"lack 30 tensors.*_orig_mod\..*saved from a compiled model"),
        (prefixed("base_model.model."), "saved with an adapter attached"),
        (prefixed("module."), "saved from a parallel wrapper"),
        (without("layers.2"), r"lack 9 tensors.*model\.layers\.2\.input_layernorm\.weight"),
        (
            lambda tensors: tensors | {"score.weight": torch.zeros(3, 32)},
            r"no place for: score\.weight",
        ),
        (
            lambda tensors: {n: t[:0] if t.ndim == 2 else t for n, t in tensors.items()},
            r"embed_tokens.weight has the shape \[0, 32\] in the file and \[259, 32\] by config",
        ),
        (
            lambda tensors: tensors | {"model.norm.weight": torch.full((32,), float("nan"))},
            r"NaN or infinite values in model\.norm\.weight",
        ),
    ],
)
def test_weights_that_are_not_the_models_are_refused(rewrite, folder, change, message):
    rewrite(change)
    with pytest.raises(InputError, match=message):
        opened(folder)


def test_a_head_that_the_file_lacks(rewrite, folder):
    rewrite(lambda tensors: tensors, tie_word_embeddings=False)
    with pytest.raises(InputError, match=r"lack 1 tensors.*missing are lm_head\.weight"):
        opened(folder)


def test_fewer_blocks_than_the_file_has(rewrite, folder):
    rewrite(lambda tensors: tensors, num_hidden_layers=2)
    with pytest.raises(InputError, match=r"no place for: model\.layers\.2\.input_layernorm"):
        opened(folder)


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.vision_tower.blocks.0.weight"]
)
def test_tensors_that_a_text_model_leaves_out_are_no_fault(rewrite, folder, name):
    rewrite(lambda tensors: tensors | {name: torch.zeros(4)})
    assert opened(folder).model.config.model_type == "llama"


def test_a_folder_opened_twice_is_one_model(folder):
    ids = torch.arange(3, 13)[None]
    torch.manual_seed(1)
    first = opened(folder).model(ids).logits
    torch.manual_seed(2)
    assert torch.equal(opened(folder).model(ids).logits, first)


def test_any_failure_of_a_library_is_one_line():
    message = r"^the file: KeyError: 'x'; write it anew$"
    with pytest.raises(InputError, match=message), reported_as("the file", "write it anew"):
        {}["x"]
    with pytest.raises(InputError, match="^ours$"), reported_as("the file"):
        raise InputError("ours")


def test_summaries_are_short_and_of_one_line():
    assert summary(ValueError("a\n  b")) == "a b"
    assert summary(AttributeError("x")) == "AttributeError: x"
    assert summary(RuntimeError()) == "RuntimeError"
    assert len(summary(OSError("x" * 1000))) == 300


def test_a_missing_file_is_told_by_its_name(folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(InputError, match=r"base 'mine' can't be loaded.*model\.safetensors"):
        load_proven(AutoModelForCausalLM, folder, "mine", use_safetensors=True)


def test_a_head_whose_class_gives_the_weights_other_names(folder):
    """transformers would open the base with random weights under the adapter."""
    head = Head(task_type="QUESTION_ANS", labels=unnamed_labels(2))
    message = (
        r"model\.\* in the file is transformer\.\* in LlamaForQuestionAnswering, so .* random ones "
        "used; give a base that was saved as LlamaForQuestionAnswering"
    )
    with pytest.raises(InputError, match=message):
        load_base_model(str(folder), device="cpu", dtype="float32", head=head)
    saved = folder.parent / "answering"
    AutoModelForQuestionAnswering.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(
        saved
    )
    for file in folder.glob("*token*"):
        shutil.copy(file, saved)
    base = load_base_model(str(saved), device="cpu", dtype="float32", head=head)
    assert type(base.model).__name__ == "LlamaForQuestionAnswering"

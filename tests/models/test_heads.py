import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ENCODERS
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head, draw_head, head_modules, head_parameters
from peftlens.models.snapshot import fingerprint, restored_after

CLASSES = Head(task_type="SEQ_CLS", labels=("down", "up", "flat"))
NUMBER = Head(task_type="SEQ_CLS")
TAGS = Head(task_type="TOKEN_CLS", labels=("B", "I", "O"))
NEW = {
    "bert": ("bert.pooler", "classifier"),  # the head that predicts masked tokens has no pooler
    "roberta": ("classifier",),
    "deberta": ("pooler", "classifier"),
    "modernbert": ("classifier",),  # its first layer is the one of the masked tokens' head
    "llama": ("score",),
    "gpt2": ("score",),
}


def opened(folder, head=None):
    return load_base_model(str(folder), device="cpu", dtype="float32", head=head)


@pytest.mark.parametrize("name", NEW)
def test_the_new_modules_are_those_that_the_file_lacks(encoders, bases, name):
    base = opened((encoders | bases)[name], CLASSES)
    assert head_modules(base.model) == NEW[name]
    assert base.model.config.num_labels == 3
    assert base.model.config.id2label == {0: "down", 1: "up", 2: "flat"}
    assert not any(part in shape for shape in base.shapes for part in ("classifier", "score."))
    trunk = getattr(base.model, base.model.base_model_prefix).state_dict()
    plain = AutoModel.from_pretrained((encoders | bases)[name]).state_dict()
    assert all(torch.equal(plain[key], trunk[key]) for key in trunk if "pooler" not in key)


@pytest.mark.parametrize("head", [CLASSES, NUMBER, TAGS])
@pytest.mark.parametrize("name", [*ENCODERS, "llama"])
def test_a_head_is_drawn_by_the_seed_as_transformers_draws_it(encoders, bases, name, head):
    base = opened((encoders | bases)[name], head)
    before = fingerprint(base.model)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with restored_after(base.model):
        drawn = []
        for seed in (0, 0, 1):
            draw_head(base.model, seed)
            drawn.append({key: p.clone() for key, p in head_parameters(base.model).items()})
        assert torch.equal(torch.rand(3), expected)  # numbers drawn later are as without a head
    for key, first in drawn[0].items():
        assert torch.equal(first, drawn[1][key])
        if key.endswith("bias"):
            assert not first.any()
        else:
            assert not torch.equal(first, drawn[2][key])
            # initializer_range is 0.02; ModernBERT's last layer has hidden_size ** -0.5
            assert 0.01 < first.std() < (0.25 if name == "modernbert" else 0.03), key
    assert fingerprint(base.model) == before


def test_an_encoder_opens_with_the_head_of_its_file(encoders, tmp_path):
    with_head = opened(encoders["bert"])
    assert type(with_head.model).__name__ == "BertForMaskedLM"
    assert head_modules(with_head.model) == ()
    plain = AutoModelForMaskedLM.from_pretrained(encoders["bert"])
    ids = torch.tensor([[2, 40, 50, 1]])
    with torch.inference_mode():
        assert torch.equal(with_head.model(ids).logits, plain.eval()(ids).logits)
    plain.bert.save_pretrained(tmp_path / "bare")
    with_head.tokenizer.save_pretrained(tmp_path / "bare")
    bare = opened(tmp_path / "bare")
    assert type(bare.model).__name__ == "BertModel"
    with torch.inference_mode():
        assert torch.equal(bare.model(ids)[0], plain.bert(ids)[0])


def test_the_head_of_a_classifier_s_file_is_left_out(encoders, tmp_path):
    """A file for five classes opens as an encoder, and with a new head of three."""
    plain = AutoModelForSequenceClassification.from_pretrained(encoders["bert"], num_labels=5)
    plain.save_pretrained(tmp_path / "model")
    opened(encoders["bert"]).tokenizer.save_pretrained(tmp_path / "model")
    assert type(opened(tmp_path / "model").model).__name__ == "BertModel"
    base = opened(tmp_path / "model", CLASSES)
    assert head_modules(base.model) == ("classifier",)  # its pooler is in the file
    assert torch.equal(base.model.bert.pooler.dense.weight, plain.bert.pooler.dense.weight)


def test_a_block_that_is_missing_is_no_head(encoders, tmp_path):
    folder = tmp_path / "model"
    opened(encoders["bert"]).model.save_pretrained(folder)
    opened(encoders["bert"]).tokenizer.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for head in (None, CLASSES):
        with pytest.raises(InputError, match=r"lack 1 tensors .*layer\.1\.output\.dense\.weight"):
            opened(folder, head)


def test_an_encoder_decoder_takes_no_head(bases):
    with pytest.raises(InputError, match="is an encoder-decoder, and heads are for encoders"):
        opened(bases["t5"], CLASSES)


def test_a_type_without_such_a_head(tmp_path, encoders):
    folder = tmp_path / "model"
    opened(encoders["bert"]).model.save_pretrained(folder)
    opened(encoders["bert"]).tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert-generation"}))
    with pytest.raises(InputError, match="for which transformers has no AutoModelForSeq"):
        opened(folder, CLASSES)


def test_weights_that_are_not_finite(encoders, tmp_path):
    base = opened(encoders["bert"])
    with torch.no_grad():
        base.model.bert.embeddings.LayerNorm.weight.fill_(1e38)
    base.model.save_pretrained(tmp_path / "model")
    base.tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="its outputs are not finite"):
        opened(tmp_path / "model")

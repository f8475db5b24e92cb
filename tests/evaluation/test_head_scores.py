from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from peftlens.data.collate import Batch, Collator
from peftlens.data.task import Example, Rating, TaggedWords
from peftlens.evaluation.head_scores import head_logits, head_loss, head_outputs
from peftlens.evaluation.log_likelihood import choose
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head

ANSWERS = (" down", " up")
HEADS = {
    "classes": Head(task_type="SEQ_CLS", labels=("down", "up")),
    "number": Head(task_type="SEQ_CLS"),
    "tags": Head(task_type="TOKEN_CLS", labels=("B", "O")),
}
EXAMPLES = {
    "classes": [Example(text, ANSWERS, len(text) % 2) for text in ("abc", "a longer text", "b")],
    "number": [Rating(text, (" 1",), value=float(len(text))) for text in ("abc", "a longer", "b")],
    "tags": [
        TaggedWords(text, ("O",), words=(*text.split(),), tags=("O", "B", "B")[: len(text.split())])
        for text in ("abc", "a longer text", "b")
    ],
}


@pytest.fixture
def opened(encoders):
    def open_base(kind):
        base = load_base_model(
            str(encoders["bert"]), device="cpu", dtype="float32", head=HEADS[kind]
        )
        collator = Collator.of(base, 64)
        return base, collator, collator.items(EXAMPLES[kind])[0]

    return open_base


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_is_transformers_own(opened, kind):
    base, collator, items = opened(kind)
    batch = collator.batch([item.rows[item.correct] for item in items])
    labels = batch.targets
    if kind == "tags":  # -100 is not counted
        labels = torch.full(batch.scored.shape, -100)
        labels[batch.scored] = batch.targets
    expected = base.model(**batch.inputs, labels=labels).loss
    loss = head_loss(base.model, batch) / len(batch.targets)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("kind", HEADS)
def test_items_are_scored_in_batches_as_alone(opened, kind):
    base, collator, items = opened(kind)
    together = head_outputs(base.model, collator, items, "")
    for index, item in enumerate(items):
        alone = head_outputs(base.model, collator, [item], "")
        np.testing.assert_allclose(together.scores[index], alone.scores[0], atol=1e-6)
        np.testing.assert_allclose(together.predicted[index], alone.predicted[0], atol=1e-6)


def test_classes_by_plain_transformers(opened):
    base, collator, items = opened("classes")
    choices = choose(base.model, collator, items)
    plain = AutoModelForSequenceClassification.from_config(base.model.config).eval()
    plain.load_state_dict(base.model.state_dict())
    for index, example in enumerate(EXAMPLES["classes"]):
        ids = base.tokenizer(example.prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logs = plain(ids).logits[0].double().log_softmax(-1).numpy()
        assert choices.by_sum[index] == logs.argmax()
        np.testing.assert_allclose(choices.loss[index], -logs[example.correct], atol=1e-6)
        np.testing.assert_allclose(choices.label_loss[index], choices.loss[index], atol=1e-12)


def test_tags_by_plain_transformers(opened):
    base, collator, items = opened("tags")
    outputs = head_outputs(base.model, collator, items, "")
    plain = AutoModelForTokenClassification.from_config(base.model.config).eval()
    plain.load_state_dict(base.model.state_dict())
    for index, example in enumerate(EXAMPLES["tags"]):
        encoded = base.tokenizer(example.prompt, return_tensors="pt")
        with torch.inference_mode():
            chosen = plain(encoded["input_ids"]).logits[0].argmax(-1)
        starts = [0, *(at + 1 for at, letter in enumerate(example.prompt) if letter == " ")]
        # a byte is a token, and the space before a word begins none of its own
        assert outputs.predicted[index].tolist() == chosen[starts].tolist()


def test_vectors_in_front_are_not_scored():
    """A soft prompt of two vectors makes four outputs of two tokens."""
    logits = torch.arange(8.0).reshape(1, 4, 2)
    model = nn.Identity()
    model.forward = lambda **_: SimpleNamespace(logits=logits)
    batch = Batch({}, torch.tensor([[True, False]]), torch.tensor([1]))
    assert head_logits(model, batch).tolist() == [[4.0, 5.0]]
    batch = Batch({}, torch.tensor([[False, True]]), torch.tensor([1]))
    assert head_logits(model, batch).tolist() == [[6.0, 7.0]]

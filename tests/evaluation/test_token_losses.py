import numpy as np
import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.evaluation.token_losses import min_k, token_losses


def test_losses_are_those_of_plain_transformers(llama):
    collator = Collator.of(llama, 64)
    examples = [Example("", (text,)) for text in ("some text", "and a longer one", "x y")]
    examples.append(Example("a prompt", (" with its answer",)))
    rows = [item.rows[0] for item in collator.items(examples)[0]]
    found = token_losses(llama.model, collator, rows, "")
    for row, losses in zip(rows, found, strict=True):
        ids = torch.tensor([[*row.prompt, *row.answer]])
        labels = ids.clone()
        labels[:, : len(row.prompt)] = -100
        with torch.inference_mode():
            expected = llama.model(input_ids=ids, labels=labels).loss
        assert losses.mean() == pytest.approx(expected.item(), abs=1e-5)


def test_min_k_by_hand():
    losses = np.array([1.0, 5.0, 2.0, 4.0, 3.0])
    assert min_k(losses, 0.4) == -4.5
    assert min_k(losses, 0.1) == -5  # one token at least
    assert min_k(losses, 1.0) == -3

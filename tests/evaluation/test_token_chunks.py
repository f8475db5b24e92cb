import pytest
import torch

from peftlens.evaluation import token_chunks as module
from peftlens.evaluation.token_chunks import chunks, token_loss


@pytest.mark.parametrize("words", [3, 2**18, 2**20])
def test_chunks_fit_and_together_are_the_rows(words):
    logits, places = torch.randn(5, words).bfloat16(), torch.arange(5)
    parts = [*chunks(logits, places)]
    assert {part.dtype for part, _ in parts} == {torch.float32}
    assert all(part.numel() <= max(words, module._CACHED) for part, _ in parts)
    assert torch.equal(torch.cat([part for part, _ in parts]), logits.float())
    assert torch.equal(torch.cat([place for _, place in parts]), places)
    assert len(parts) == {3: 1, 2**18: 3, 2**20: 5}[words]


def test_the_loss_of_tokens_is_that_of_all_at_once(monkeypatch):
    logits, targets = torch.randn(7, 11), torch.arange(7)
    expected = -logits.log_softmax(dim=-1)[torch.arange(7), targets]
    monkeypatch.setattr(module, "_CACHED", 22)
    assert torch.allclose(token_loss(logits, targets), expected)


def test_no_token_has_no_loss():
    assert token_loss(torch.empty(0, 4), torch.empty(0, dtype=torch.long)).shape == (0,)

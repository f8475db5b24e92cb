from copy import deepcopy

import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.models.base_model import load_base_model
from peftlens.training.base_predictions import BasePredictions, other_tokens

ROWS = [TokenizedAnswer((40, 41), (50,)), TokenizedAnswer((42, 43, 44), (51, 52)),
        TokenizedAnswer((45,), (53, 54, 55))]  # fmt: skip


def test_divergence_is_that_of_the_whole_distributions(bases):
    for kind in ("llama", "gpt2"):
        base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
        collator, tuned = Collator.of(base, 64), deepcopy(base.model)
        found = BasePredictions.of(base, collator, [*ROWS, ROWS[0]], collator.batch)
        torch.manual_seed(0)
        with torch.no_grad():
            for p in tuned.parameters():
                p.add_(0.05 * torch.randn_like(p))
            expected = 0.0
            for row in ROWS:
                ids = torch.tensor([[*row.prompt, *row.answer[:-1]]])
                p, q = (m(ids).logits[0].log_softmax(-1) for m in (base.model, tuned))
                each = (p.exp() * (p - q)).sum(-1)
                expected += each[len(row.prompt) - 1 :].sum().item()
            logits = answer_logits(tuned, collator.batch(ROWS))
            same = answer_logits(base.model, collator.batch(ROWS))
        assert found.divergence(ROWS, logits).item() == pytest.approx(expected, rel=1e-4)
        assert found.divergence(ROWS, same).item() == pytest.approx(0, abs=1e-5)


def test_tokens_that_the_base_lacks_have_no_probability_of_its(llama):
    collator = Collator.of(llama, 64)
    found = BasePredictions.of(llama, collator, ROWS, collator.batch)
    with torch.no_grad():
        logits = answer_logits(llama.model, collator.batch(ROWS))
    more = torch.cat([logits, logits.logsumexp(-1, keepdim=True)], -1)  # half of all goes to it
    assert found.divergence(ROWS, more).item() == pytest.approx(len(logits) * 0.693147, rel=1e-4)


def test_the_other_tokens_are_those_of_the_input_that_are_no_targets(llama):
    batch = Collator.of(llama, 64).batch(ROWS)
    assert batch.scored.tolist() == [[0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0]]
    assert other_tokens(batch).scored.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]

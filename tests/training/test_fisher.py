import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.training.fisher import fisher_diagonal

ROWS = [TokenizedAnswer((), (40, 90, 77)), TokenizedAnswer((), (51, 12, 8, 66))]


def exact(model, weight):
    """Σ_y p(y) (∂ log p(y) / ∂θ)² at every position, by a gradient for each of 259 tokens."""
    total, count = torch.zeros_like(weight), 0
    for row in ROWS:
        logs = model(torch.tensor([row.answer])).logits[0, :-1].log_softmax(-1)  # (n, V)
        for position in logs:
            (jacobian,) = torch.autograd.grad(
                position, weight, torch.eye(len(position)), is_grads_batched=True, retain_graph=True
            )  # (V, d)
            total += (position.detach().exp()[:, None] * jacobian**2).sum(0)
            count += 1
    return total / count


def test_it_is_the_expectation_over_the_models_own_predictions(llama):
    model, collator = llama.model, Collator.of(llama, 64)
    weight = model.model.layers[1].input_layernorm.weight
    expected = exact(model, weight)
    frozen = model.requires_grad_(False)
    draws = [fisher_diagonal(frozen, collator, ROWS, [weight], seed)[0] for seed in range(300)]
    mean = torch.stack(draws).mean(0)
    error = torch.stack(draws).std(0) / 300**0.5
    assert ((mean - expected).abs() < 4 * error).all()
    assert mean.sum() == pytest.approx(expected.sum().item(), rel=0.1)
    assert not weight.requires_grad
    assert weight.grad is None


def test_the_seed_draws_the_tokens(llama):
    collator, weight = Collator.of(llama, 64), llama.model.model.norm.weight
    one, again, other = (
        fisher_diagonal(llama.model, collator, ROWS, [weight], seed)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_an_unused_weight_has_none(llama):
    unused = torch.nn.Parameter(torch.ones(3))
    (found,) = fisher_diagonal(llama.model, Collator.of(llama, 64), ROWS, [unused], 0)
    assert found.tolist() == [0, 0, 0]

import torch
from tiny import build

from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.evaluation.model_divergence import compare_models, kl_of_logits


def test_a_hand_worked_divergence():
    # uniform over two tokens against 3/4 and 1/4: 1/2 log(2/3) + 1/2 log 2 = 0.1438
    one, other = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
    torch.testing.assert_close(kl_of_logits(one, other), torch.tensor([0.14384104]))
    more = torch.cat([other, torch.tensor([[-100.0]])], dim=1)  # a token that the first lacks
    torch.testing.assert_close(kl_of_logits(one, more), torch.tensor([0.14384104]))


def test_models_are_activated_in_turn_and_compared_with_the_first(llama):
    tuned = build("llama")
    with torch.no_grad():
        tuned.model.norm.weight *= 2
    active = []

    def use(name, model):
        return lambda: active.append(name) or model

    collator = Collator.of(llama, 64)
    examples = [Example("", (text,), 0) for text in ("a quiet river", "nine ships")]
    rows = [item.rows[0] for item in collator.items(examples)[0]]
    found = compare_models([use("a", llama.model), use("b", tuned)], collator, rows)
    assert active[:2] == ["a", "b"]
    assert (found[0].kl == 0).all()
    logs = [[], []]
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.answer]])
        for place, model in enumerate((llama.model, tuned)):
            with torch.no_grad():
                logits = model(ids).logits[0, -row.scored - 1 : -1]
            logs[place].append(logits.log_softmax(dim=-1))
    p, q = (torch.cat(one) for one in logs)
    torch.testing.assert_close(
        torch.tensor(found[1].kl).sum().float(), (p.exp() * (p - q)).sum(), rtol=1e-4, atol=1e-5
    )

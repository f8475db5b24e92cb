import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.lora_fa import Config, attach, optimizer, trainable_parameters
from peftlens.models.architecture import shapes


def test_only_b_learns():
    config = Config(rank=2)
    model = attach(build("llama"), config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    one = optimizer(model, config, rate=0.1, weight_decay=0.0)
    ids = torch.tensor([[5, 6, 7]])
    model(input_ids=ids, labels=ids).loss.backward()
    one.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if ".lora_B." in name}
    assert len(moved) == 6


def test_count_by_hand():
    # B of q: 32 x 4, of v: 16 x 4
    assert trainable_parameters(Config(rank=4), shapes(build("llama"))) == 3 * 4 * (32 + 16)


@pytest.mark.parametrize(
    ("config", "message"),
    [(Config(rank=17), "rank=17 must lie between 1 and 16"), (Config(alpha=0), "alpha=0")],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))

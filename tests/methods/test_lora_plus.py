import pytest
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.lora_plus import Config, attach, optimizer, trainable_parameters
from peftlens.models.architecture import shapes


def test_b_learns_faster_by_the_ratio():
    model = attach(build("llama"), Config(rank=2, rate_ratio=4))
    groups = optimizer(model, Config(rank=2, rate_ratio=4), rate=0.1, weight_decay=0.3).param_groups
    rates = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(rates) == len(trained) == 12
    for name, parameter in trained.items():
        expected = 0.1 if ".lora_A." in name else 0.4
        assert rates[id(parameter)] == pytest.approx((expected, 0.3)), name


def test_count_by_hand():
    assert trainable_parameters(Config(rank=4), shapes(build("llama"))) == 3 * 4 * (64 + 48)


@pytest.mark.parametrize(
    ("config", "message"),
    [(Config(rate_ratio=0.5), "rate_ratio=0.5 must be .* at least 1"), (Config(rank=0), "rank=0")],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))

import pytest
import torch
from tiny import build, setting

from peftlens.errors import InputError
from peftlens.methods.adalora import (
    Config,
    after_step,
    attach,
    regularization_loss,
    resolve_config,
    trainable_parameters,
)
from peftlens.models.architecture import shapes

SMALL = {"rank": 2, "initial_rank": 4}


def factors(model, part):
    return [p for name, p in model.named_parameters() if f".{part}." in name]


def train(steps):
    """AdaLoRA's loop without a learning rate of its own."""
    config = Config(**SMALL, steps=steps)
    model = attach(build("llama"), config)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    left = []
    for step in range(1, steps + 1):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        after_step(model, config, step, steps)
        optimizer.zero_grad()
        assert model.peft_config["default"].rank_pattern is None
        left.append(sum(int(p.count_nonzero()) for p in factors(model, "lora_E")))
    return left


def test_steps_are_those_of_the_run():
    assert resolve_config(Config(), setting(steps=70)).steps == 70


def test_update_by_hand():
    model = build("llama")
    x = torch.randn(2, 32)
    plain = model.model.layers[0].self_attn.q_proj(x)
    config = Config(**SMALL, alpha=6, target_modules=("q_proj",))
    layer = attach(model, config).base_model.model.model.layers[0].self_attn.q_proj
    q, lam, p = (getattr(layer, f"lora_{part}")["default"] for part in "AEB")
    with torch.no_grad():
        lam.copy_(torch.tensor([[1.0], [0.0], [-2.0], [3.0]]))
    update = p @ torch.tensor([1.0, 0.0, -2.0, 3.0]).diag() @ q
    # peft divides by the rank at the start, 4
    torch.testing.assert_close(layer(x), plain + 6 / 4 * x @ update.T, rtol=1e-4, atol=1e-5)


def test_penalty_by_hand():
    config = Config(**SMALL, orth_reg_weight=3.0, target_modules=("q_proj",))
    model = attach(build("llama"), config)
    with torch.no_grad():
        for factor in [*factors(model, "lora_A"), *factors(model, "lora_B")]:
            factor.copy_(torch.eye(*factor.shape))
        assert regularization_loss(model, config).item() == 0
        factors(model, "lora_A")[0].mul_(2.0)
        factors(model, "lora_B")[1][0, 1] = 1.0
    # Q Qᵀ - I = 3 I of size 4, norm 6; Pᵀ P - I: 1 twice off the diagonal and once on it, norm √3
    assert regularization_loss(model, config).item() == pytest.approx(3 * (6 + 3**0.5) / 6)


def test_the_budget_is_met_at_seven_tenths_and_kept():
    left = train(10)
    # six layers of rank 4 at the start, of 2 on average at the end
    assert left[:2] == [24, 24]
    assert left[2:7] == sorted(left[2:7], reverse=True)
    assert left[6:] == [12, 12, 12, 12]


@pytest.mark.parametrize("steps", [2, 3])
def test_few_steps(steps):
    assert len(train(steps)) == steps


def test_one_step_is_too_few():
    with pytest.raises(InputError, match="max_steps=1 is too few"):
        resolve_config(Config(), setting(steps=1))


def test_count_by_hand():
    # rank 4 at the start: P, Q and λ
    expected = 3 * (4 * (32 + 32 + 1) + 4 * (16 + 32 + 1))
    assert trainable_parameters(Config(**SMALL), shapes(build("llama"))) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(rank=8, initial_rank=8), "initial_rank=8 must be above rank=8"),
        (Config(initial_rank=17), "rank=17 must lie between 1 and 16"),
        (Config(rank=0), "rank=0"),
        (Config(alpha=0), "alpha=0"),
        (Config(orth_reg_weight=-1), "orth_reg_weight=-1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))

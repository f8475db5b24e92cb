import copy

import pytest
import torch
from torch import nn

from peftlens.runs.config import TrainingConfig
from peftlens.training.optimizer import DivergenceError, OptimizerStep, adamw

CONFIG = TrainingConfig(
    max_steps=4,
    learning_rate=0.5,
    warmup_ratio=0.5,
    lr_scheduler_type="constant",
    max_grad_norm=1.0,
)


def weight(*values, dtype=torch.float32):
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def test_steps_by_hand():
    """AdamW's first step is the rate, whatever the gradient; here after a warm-up from zero."""
    one, frozen = weight(1.0), weight(1.0).requires_grad_(False)
    stepper = OptimizerStep([one, frozen], CONFIG)
    found = []
    for step in (1, 2, 3):
        one.grad = torch.tensor([4.0])
        found.append(stepper.step(step, 2.0))
        stepper.zero_grad()
    assert [line["learning_rate"] for line in found] == [0.0, 0.25, 0.5]
    assert found[0] == {"step": 1, "loss": 2.0, "learning_rate": 0.0, "grad_norm": 4.0}
    assert one.item() == pytest.approx(1.0 - 0.25 - 0.5)
    assert frozen.item() == 1.0
    assert one.grad is None


def test_the_norm_is_of_all_and_is_clipped():
    one, other = weight(0.0), weight(0.0)
    stepper = OptimizerStep([one, other], CONFIG)
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert stepper.step(1, 1.0)["grad_norm"] == pytest.approx(5.0)
    assert [one.grad.item(), other.grad.item()] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_what_is_not_finite_is_no_step(loss, gradient):
    one = weight(1.0)
    stepper = OptimizerStep([one], CONFIG)
    one.grad = torch.tensor([gradient])
    with pytest.raises(DivergenceError) as diverged:
        stepper.step(3, loss)
    assert diverged.value.steps == 2
    assert one.item() == 1.0
    assert stepper.state_bytes == 0


def test_bytes_are_of_copies_and_of_both_moments():
    one, low = weight(1.0), weight(1.0, 2.0, dtype=torch.bfloat16)
    stepper = OptimizerStep([one, low], CONFIG)
    (one.sum() + low.sum()).backward()
    stepper.step(1, 1.0)
    counters = 2 * 4  # AdamW counts its steps, a float32 for each tensor
    assert stepper.state_bytes == 2 * 4 + 2 * 3 * 4 + counters


def test_an_optimizer_of_the_method_s_own():
    one = weight(1.0)
    stepper = OptimizerStep([one], CONFIG, lambda rate, _: torch.optim.SGD([one], lr=rate))
    for step in (1, 2):
        one.grad = torch.tensor([1.0])
        stepper.step(step, 1.0)
    assert one.item() == pytest.approx(1.0 - 0.25)


def ours(one, low):
    """An optimizer whose state is of the method's own kind, and keyed by name."""

    class Momentum(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):  # noqa: ARG002
            counts = self.state["steps"]
            counts["taken"] = counts.get("taken", 0) + 1
            super().step()
            one.add_(counts["taken"])

    return lambda rate, _: Momentum([{"params": [one]}, {"params": [low]}], rate, momentum=0.5)


@pytest.mark.parametrize("make", [lambda *_: None, ours])
@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_another_optimizer_goes_on_where_one_has_stopped(make, kind):
    config = CONFIG.model_copy(update={"lr_scheduler_type": kind, "warmup_ratio": 0.25})

    def trained(steps, weights, stepper):
        for step in steps:
            for parameter in weights:
                parameter.grad = torch.full_like(parameter, 0.1 * step)
            rates.append(stepper.step(step, 1.0)["learning_rate"])
            stepper.zero_grad()

    def start(dtype):
        weights = weight(1.0, 2.0), weight(3.0, dtype=dtype)
        return weights, OptimizerStep(weights, config, make(*weights))

    dtype = torch.float32 if make is ours else torch.bfloat16
    rates = []
    whole, stepper = start(dtype)
    trained((1, 2, 3, 4), whole, stepper)
    first, stopped = start(dtype)
    trained((1, 2), first, stopped)
    saved = copy.deepcopy(stopped.state_dict())
    second, resumed = start(dtype)
    resumed.load_state_dict(saved)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    trained((3, 4), second, resumed)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))
    assert rates[:4] == rates[4:]
    assert resumed.state_bytes == stepper.state_bytes


def test_gradients_are_held_in_float32():
    one, low = weight(1.0, 2.0), weight(1.0, dtype=torch.bfloat16)
    stepper = OptimizerStep([one, low], CONFIG)
    assert stepper.gradient_bytes == 0
    (one.sum() + low.float().sum()).backward()
    assert stepper.gradient_bytes == 4 * 3


def test_one_pass_over_all_weights_is_adamw():
    torch.manual_seed(0)
    start = [torch.randn(3, 5), torch.randn(4)]
    plain, fused = ([nn.Parameter(values.clone()) for values in start] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.3}
    optimizers = [torch.optim.AdamW(plain, foreach=False, **options), adamw(fused, **options)]
    for _ in range(20):
        for one, other in zip(plain, fused, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert optimizers[1].defaults["fused"]
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)

import torch
from torch import nn

from peftlens.training.master_weights import MasterWeights


def model(dtype):
    linear = nn.Linear(2, 1, bias=False).to(dtype)
    nn.init.ones_(linear.weight)
    return linear


def test_float32_is_its_own_copy():
    linear = model(torch.float32)
    masters = MasterWeights(linear.parameters())
    assert masters.trained[0] is linear.weight
    assert masters.bytes == 0


def test_small_steps_are_not_lost_to_rounding():
    linear = model(torch.bfloat16)
    masters = MasterWeights(linear.parameters())
    assert masters.bytes == 2 * 4
    (master,) = masters.trained
    step = 2.0**-10  # bfloat16's spacing at 1 is 2**-7: a single step rounds away
    for taken in range(1, 9):
        with torch.no_grad():
            master += step
        masters.write_back()
        expected = 1.0 + 2.0**-7 if taken > 4 else 1.0
        assert linear.weight.tolist() == [[expected, expected]]


def test_gradients_are_summed_in_float32_and_freed():
    linear = model(torch.bfloat16)
    (master,) = MasterWeights(linear.parameters()).trained
    for _ in range(2):
        linear(torch.ones(1, 2, dtype=torch.bfloat16)).sum().backward()
    assert linear.weight.grad is None
    assert master.grad.dtype == torch.float32
    assert master.grad.tolist() == [[2.0, 2.0]]


def test_what_is_frozen_has_none():
    linear = model(torch.bfloat16)
    linear.weight.requires_grad_(False)
    assert MasterWeights(linear.parameters()).trained == []

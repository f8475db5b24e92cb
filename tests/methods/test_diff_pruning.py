import math

import pytest
import torch
from tiny import Stack, build

from peftlens.errors import InputError
from peftlens.methods.diff_pruning import (
    Config,
    GatedUpdate,
    after_step,
    attach,
    optimizer,
    regularization_loss,
    trainable_parameters,
)
from peftlens.models.architecture import shapes

WEIGHTS = [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]
CHANGES = [[0.125, -0.5], [0.25, 0.0625]], [[-0.375, 0.25]]
THIRD = Config(density=1 / 3, target_modules=("all_linear",))


def stack():
    model = attach(Stack(*WEIGHTS), THIRD)
    parts = [layer.parametrizations.weight[0] for layer in model.layers]
    with torch.no_grad():
        for part, change in zip(parts, CHANGES, strict=True):
            part.update.copy_(torch.tensor(change))
    return model, parts


def test_gates_by_hand():
    part = GatedUpdate(torch.zeros(1, 4)).eval()
    with torch.no_grad():
        part.update.fill_(2.0)
        part.gate.copy_(torch.tensor([[0.0, math.log(3), 9.0, -9.0]]))
    # stretched to 3 s - 1.5 and clipped: s = 1/2, 3/4, almost 1, almost 0
    torch.testing.assert_close(part.change(), torch.tensor([[0.0, 1.5, 2.0, 0.0]]))
    with torch.no_grad():
        part.matrix_gate.fill_(math.log(3))
    torch.testing.assert_close(part.change(), torch.tensor([[0.0, 1.125, 1.5, 0.0]]))


def test_gates_are_drawn_while_training_alone():
    part = GatedUpdate(torch.zeros(1, 1000))
    with torch.no_grad():
        part.update.fill_(1.0)
        part.gate.zero_()
        part.matrix_gate.fill_(30.0)
    torch.manual_seed(0)
    drawn = part.train().change()
    # closed where sigmoid(noise) is below 1/2, so half of them; open above 5/6, so a sixth
    assert (drawn == 0).float().mean().item() == pytest.approx(1 / 2, abs=0.05)
    assert (drawn == 1).float().mean().item() == pytest.approx(1 / 6, abs=0.05)
    assert not torch.equal(drawn, part.change())
    assert torch.equal(part.eval().change(), torch.zeros(1, 1000))


def test_penalty_by_hand():
    model, (first, second) = stack()
    with torch.no_grad():
        first.gate.copy_(torch.tensor([[0.0, math.log(3)], [-math.log(3), 0.0]]))
        first.matrix_gate.fill_(math.log(3))
        second.gate.zero_()
        second.matrix_gate.zero_()
    # entries open with 1/2, 3/4, 1/4, 1/2 behind 3/4; and with 1/2, 1/2 behind 1/2
    found = regularization_loss(model, Config(penalty=10.0))
    assert found.item() == pytest.approx(10 * (2 * 0.75 + 0.5))


def test_gates_travel_faster_than_updates():
    model, parts = stack()
    groups = optimizer(model, Config(gate_learning_rate=0.2), 1e-3, 0.1).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-3, 0.1), (0.2, 0.0)]
    assert groups[0]["params"] == [part.update for part in parts]
    assert len(groups[1]["params"]) == 2 * len(parts)


def test_a_penalty_alone_closes_the_gates():
    config = Config(penalty=1.0, target_modules=("all_linear",))
    model, parts = stack()
    steps = optimizer(model, config, 0.0, 0.0)
    for _ in range(60):
        steps.zero_grad()
        regularization_loss(model, config).backward()
        steps.step()
    assert not any(part.eval().change().any() for part in parts)


def test_nothing_is_cut_before_the_last_step():
    model, parts = stack()
    before = [part.gate.clone() for part in parts]
    after_step(model, THIRD, 3, 4)
    assert all(torch.equal(part.gate, gate) for part, gate in zip(parts, before, strict=True))


def test_after_the_last_step_the_largest_entries_are_left_as_they_are():
    model, _ = stack()
    after_step(model, THIRD, 4, 4)
    # a third of six: two, -0.5 in the first matrix and -0.375 in the second
    expected = [[[1.0, 1.5], [3.0, 4.0]], [[4.625, 6.0]]]
    assert model.eval().weights() == expected
    assert model.train().weights() == expected  # gates as far open or shut as noise never goes
    originals = [layer.parametrizations.weight.original.tolist() for layer in model.layers]
    assert originals == [*WEIGHTS]


def test_what_counts_and_stays_is_the_update_behind_its_gates():
    model, (first, _) = stack()
    with torch.no_grad():
        first.gate[0, 1] = 0.0  # shut, though its update is large
        first.update[1, 0] = 8.0
        first.gate[1, 0] = math.log(7 / 5)  # sigmoid 7/12, so open by a quarter
    after_step(model, THIRD, 1, 1)
    # left are 2 of the 8, and -0.375
    torch.testing.assert_close(model.layers[0].weight, torch.tensor([[1.0, 2.0], [5.0, 4.0]]))
    assert model.layers[1].weight.tolist() == [[4.625, 6.0]]


def test_number_of_entries_left_on_a_model():
    model = attach(build("llama").eval(), Config(density=0.01))
    parts = [m for m in model.modules() if isinstance(m, GatedUpdate)]
    with torch.no_grad():
        for part in parts:
            part.update.normal_()
    after_step(model, Config(density=0.01), 1, 1)
    left = sum(int(part.change().count_nonzero()) for part in parts)
    assert left == round(0.01 * 3 * (32 * 32 + 16 * 32)) == 46


def test_count_by_hand():
    # an update and a gate for each entry, a gate for each matrix
    expected = 3 * (2 * 32 * 32 + 1 + 2 * 16 * 32 + 1)
    assert trainable_parameters(Config(), shapes(build("llama"))) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(density=0), "density=0 must lie between"),
        (Config(density=1.5), "density=1.5 must lie between"),
        (Config(penalty=-1), "penalty=-1"),
        (Config(gate_learning_rate=-1), "gate_learning_rate=-1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))

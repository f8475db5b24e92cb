import pytest
import torch
from tiny import Stack, build
from torch import nn

from peftlens.errors import InputError
from peftlens.methods.intrinsic_dimension import (
    Config,
    Fastfood,
    attach,
    hadamard,
    trainable_parameters,
)
from peftlens.models.architecture import shapes

FOUR = torch.tensor(
    [[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, 1.0]]
)


def dense(part):
    """The projection as a matrix (8, 3): H G Π H B behind a padding of zeros."""
    h = torch.kron(FOUR, torch.tensor([[1.0, 1.0], [1.0, -1.0]])) / 8**0.5
    permutation = torch.zeros(8, 8)
    for row, column in enumerate(part.order.tolist()):
        permutation[row, column] = 1.0
    product = h @ part.gaussian.diag() @ permutation @ h @ part.signs.float().diag()
    return product[:, :3]


@pytest.fixture
def part():
    theta = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    return Fastfood(theta, torch.empty(2, 3), torch.Generator().manual_seed(0), scaled=True), theta


def test_hadamard_of_four_by_hand():
    v = torch.tensor([1.0, 2.0, 3.0, 5.0])
    # sums: 11, -3, -5, 1; over √4
    assert hadamard(v).tolist() == [5.5, -1.5, -2.5, 0.5]
    torch.testing.assert_close(hadamard(v), FOUR @ v / 2)


def test_projection_is_the_dense_product(part):
    fastfood, theta = part
    torch.testing.assert_close(fastfood.projected(6), (dense(fastfood) @ theta)[:6])


def test_gradient_is_the_dense_products_transpose(part):
    fastfood, theta = part
    weights = torch.arange(6.0)
    (weights * fastfood.projected(6)).sum().backward()
    torch.testing.assert_close(theta.grad, dense(fastfood)[:6].T @ weights)


def test_random_factors_are_signs_a_permutation_and_normal_numbers(part):
    fastfood, _ = part
    assert set(fastfood.signs.tolist()) <= {-1, 1}
    assert sorted(fastfood.order.tolist()) == list(range(8))
    assert len(fastfood.gaussian.unique()) == 8


def test_said_scales_each_weights_update(part):
    fastfood, theta = part
    with torch.no_grad():
        fastfood.scale.fill_(3.0)
    weight = torch.ones(2, 3)
    change = (dense(fastfood) @ theta)[:6].reshape(2, 3)
    torch.testing.assert_close(fastfood(weight), weight + 3 * change)


def test_one_theta_moves_every_weight_by_its_own_projection():
    model = Stack([[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]])
    config = Config(dimension=3, structure_aware=False, target_modules=("all_linear",))
    attach(model, config)
    assert model.weights() == [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]
    with torch.no_grad():
        model.intrinsic.fill_(1.0)
    first, second = (layer.weight - layer.parametrizations.weight.original
                     for layer in model.layers)  # fmt: skip
    assert first.abs().min() > 0
    assert not torch.allclose(first, second)


def test_same_projection_seed_same_factors():
    def factors(seed):
        model = Stack([[1.0, 2.0], [3.0, 4.0]])
        config = Config(dimension=2, target_modules=("all_linear",), projection_seed=seed)
        return attach(model, config).layers[0].parametrizations.weight[0].gaussian

    assert torch.equal(factors(1), factors(1))
    assert not torch.equal(factors(1), factors(2))


def test_count_by_hand():
    of_llama = shapes(build("llama"))
    assert trainable_parameters(Config(dimension=50), of_llama) == 50
    assert trainable_parameters(Config(dimension=50, structure_aware=False), of_llama) == 50
    # six target weights, a λ each
    assert attach(build("llama"), Config(dimension=50)).intrinsic.shape == (44,)
    assert attach(build("llama"), Config(dimension=50, structure_aware=False)).intrinsic.shape == (
        50,
    )


def test_dimension_that_leaves_no_theta():
    with pytest.raises(InputError, match="dimension=6 must be .* at least 7"):
        trainable_parameters(Config(dimension=6), shapes(build("llama")))
    with pytest.raises(InputError, match="dimension=0 must be .* at least 1"):
        trainable_parameters(Config(dimension=0, structure_aware=False), shapes(build("llama")))

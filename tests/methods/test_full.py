from tiny import build

from peftlens.methods import full


def test_every_parameter_is_trained():
    model = full.attach(build("llama"), full.Config())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_count_by_hand():
    # a matrix of 6, a vector of 2
    assert full.trainable_parameters(full.Config(), {"a.weight": (2, 3), "a.bias": (2,)}) == 8

from tiny import build

from peftlens.methods import frozen


def test_nothing_is_trained_or_added():
    model = build("llama")
    names = [name for name, _ in model.named_parameters()]
    assert frozen.attach(model, frozen.Config()) is model
    assert [name for name, _ in model.named_parameters()] == names
    assert not any(parameter.requires_grad for parameter in model.parameters())

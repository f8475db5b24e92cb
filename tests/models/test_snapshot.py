import pytest
import torch
from tiny import build
from torch import nn

from peftlens.models.snapshot import fingerprint, restored_after, with_weights


@pytest.fixture
def model():
    return build("llama")


def replace_module(model):
    model.model.layers[0].mlp = nn.Identity()


def add_module(model):
    model.extra = nn.Linear(2, 2)


def add_hook(model):
    model.model.norm.register_forward_hook(lambda *_: None)


def freeze(model):
    model.requires_grad_(False)


def start_training(model):
    model.train()


def replace_weight(model):
    model.model.norm.weight = nn.Parameter(torch.zeros(32))


def give_other_data(model):
    model.model.norm.weight.data = torch.zeros(32)


def change_class(model):
    model.model.norm.__class__ = type("Other", (type(model.model.norm),), {})


@pytest.mark.parametrize(
    "change",
    [
        replace_module,
        add_module,
        add_hook,
        freeze,
        start_training,
        replace_weight,
        give_other_data,
        change_class,
    ],
)
def test_whatever_is_done_is_undone_and_would_be_noticed(model, change):
    before = fingerprint(model)
    with restored_after(model):
        change(model)
        assert fingerprint(model) != before
    assert fingerprint(model) == before


def test_it_is_undone_after_an_error_too(model):
    before = fingerprint(model)
    with pytest.raises(RuntimeError, match="broken off"), restored_after(model):
        freeze(model)
        raise RuntimeError("broken off")
    assert fingerprint(model) == before


def test_a_single_changed_weight_is_noticed(model):
    before = fingerprint(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-6
    assert fingerprint(model) != before


def test_a_changed_configuration_is_noticed(model):
    before = fingerprint(model)
    model.config.rms_norm_eps = 0.1
    assert fingerprint(model) != before


def test_gradients_are_not_left_behind(model):
    with restored_after(model):
        model(torch.tensor([[1, 2]])).logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


class MatmulLtState:
    """Stands for the object in which bitsandbytes keeps 8-bit weights."""

    def __init__(self):
        self.CB = "weights"


def test_what_bitsandbytes_keeps_is_restored():
    model = build("llama")
    layer = model.model.layers[0].mlp
    layer.state = MatmulLtState()
    with restored_after(model):
        layer.state.CB = None
    assert layer.state.CB == "weights"


def test_other_weights_are_there_in_the_block_only(model):
    before = fingerprint(model)
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    assert head.weight is table.weight
    with with_weights(model, {"lm_head.weight": torch.ones(259, 32)}):
        assert head.weight.eq(1).all()
        assert not table.weight.eq(1).any()
    assert head.weight is table.weight
    assert fingerprint(model) == before

import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods import lora
from peftlens.models.architecture import shapes


def test_update_is_the_papers_formula():
    model = build("llama")
    projection = model.model.layers[0].self_attn.q_proj
    x = torch.randn(5, 32)
    before = projection(x)
    wrapped = lora.attach(model, lora.Config(rank=2, alpha=6, target_modules=("q_proj",)))
    layer = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.normal_()
    torch.testing.assert_close(layer(x), before + (6 / 2) * x @ (b @ a).T)


def test_targets_are_query_and_value_unless_said():
    for kind, expected in {"llama": 3 * 8 * (64 + 48), "gpt2": 2 * 8 * (96 + 32)}.items():
        model = build(kind)
        assert lora.trainable_parameters(lora.Config(), shapes(model)) == expected
        wrapped = lora.attach(model, lora.Config())
        assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == expected


def test_count_by_hand():
    config = lora.Config(rank=4, target_modules=("q_proj", "v_proj"))
    # q: 32 -> 32, v: 32 -> 16, three blocks
    assert lora.trainable_parameters(config, shapes(build("llama"))) == 3 * 4 * (64 + 48)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lora.Config(rank=0), "rank=0 must lie between 1 and 16"),
        (lora.Config(rank=17), "rank=17 must lie between 1 and 16"),
        (lora.Config(alpha=0), "alpha=0 must be"),
        (lora.Config(target_modules=("query",)), "'query' matches no layer"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        lora.trainable_parameters(config, shapes(build("llama")))

import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.bottleneck import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


@pytest.mark.parametrize("placement", ["feed_forward", "attention", "both"])
def test_it_acts_on_the_outputs_of_the_layers_where_it_is_placed(placement):
    model = build("llama")
    block = model.model.layers[1]
    x = torch.randn(1, 3, 32)
    positions = model.model.rotary_emb(x, torch.arange(3)[None])

    def outputs():
        attention, _ = block.self_attn(x, position_embeddings=positions, attention_mask=None)
        return {"attention": attention, "feed_forward": block.mlp(x)}

    plain = outputs()
    attach(model, Config(bottleneck_size=4, placement=placement))
    for name, module in model.named_modules():
        if name.endswith(".bottleneck"):
            torch.nn.init.constant_(module.up.bias, 2.0)
    for role, output in outputs().items():
        added = 2.0 if placement in (role, "both") else 0.0
        torch.testing.assert_close(output, plain[role] + added)


def test_it_reads_the_output_that_it_adds_to():
    model = build("llama")
    x = torch.randn(1, 3, 32)
    plain = model.model.layers[0].mlp(x)
    attach(model, Config(bottleneck_size=4))
    adapter = model.model.layers[0].mlp.bottleneck
    with torch.no_grad():
        adapter.up.weight.normal_()
    inner = torch.relu(plain @ adapter.down.weight.T + adapter.down.bias)
    expected = plain + inner @ adapter.up.weight.T
    torch.testing.assert_close(model.model.layers[0].mlp(x), expected)


@pytest.mark.parametrize(
    ("placement", "places"), [("feed_forward", 3), ("attention", 3), ("both", 6)]
)
def test_count_by_hand(placement, places):
    config = Config(bottleneck_size=4, placement=placement)
    # d = 32, m = 4: 2 * 32 * 4 weights, 4 + 32 biases
    assert trainable_parameters(config, shapes(build("llama"))) == places * 292


def test_size_of_zero():
    with pytest.raises(InputError, match="bottleneck_size=0 must be .* at least 1"):
        trainable_parameters(Config(bottleneck_size=0), shapes(build("llama")))

import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.parallel_adapter import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_it_reads_the_layers_input_and_adds_to_its_output():
    model = build("llama")
    layer = model.model.layers[1].mlp
    x = torch.randn(1, 3, 32)
    plain = layer(x)
    attach(model, Config(bottleneck_size=4, scale=3.0))
    adapter = layer.parallel.bottleneck
    with torch.no_grad():
        adapter.up.weight.normal_()
        adapter.up.bias.fill_(1.0)
    inner = torch.relu(x @ adapter.down.weight.T + adapter.down.bias)
    expected = plain + 3.0 * (inner @ adapter.up.weight.T + 1.0)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "neox", "opt"])
def test_beside_attention_and_feed_forward_of_every_kind(kind):
    model = build(kind)
    attach(model, Config(bottleneck_size=2, placement="both"))
    held = [name for name, _ in model.named_modules() if name.endswith(".parallel")]
    blocks = {"llama": 3, "t5": 4}.get(kind, 2)
    assert len(held) == 2 * blocks
    ids = torch.tensor([[5, 6, 7]])
    inputs = {"decoder_input_ids": ids} if kind == "t5" else {}
    before = model(input_ids=ids, **inputs).logits
    with torch.no_grad():
        for name in held:
            model.get_submodule(name).bottleneck.up.weight.normal_()
    after = model(input_ids=ids, **inputs).logits
    assert after.isfinite().all()
    assert not torch.allclose(before, after)


def test_count_by_hand():
    of_llama = shapes(build("llama"))
    # 2 * 32 * 4 weights, 4 + 32 biases; 3 blocks
    assert trainable_parameters(Config(bottleneck_size=4), of_llama) == 3 * 292
    both = Config(bottleneck_size=4, placement="both")
    assert trainable_parameters(both, of_llama) == 6 * 292


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(bottleneck_size=0), "bottleneck_size=0 must be .* at least 1"),
        (Config(scale=float("nan")), "scale=nan must be above 0 and finite"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))

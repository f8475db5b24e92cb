"""Weights with and without an update, rounded, and what of the update is left."""

import pytest
import torch
from small_runs import small_trainer

from peftlens.adapters.rounded_weights import UpdatedWeights, updated_weights
from peftlens.results.table import NotApplicable


@pytest.fixture
def run(bases, words, tmp_path):
    return small_trainer(bases, words, tmp_path / "runs", max_steps=3, learning_rate=0.05)


def two(before, after, quantized=("w",), transposed=()):
    weights = UpdatedWeights({"w": before}, {"w": after}, {*quantized}, {*transposed})
    assert weights.changed() == ["w"]
    return weights


def test_int8_by_hand():
    """Steps are 1. An update of 0.4 lifts 1.3 to the next one, and 3.0 not."""
    before = torch.tensor([[127.0, 1.3, 3.0]])
    left = two(before, before + torch.tensor([[0.0, 0.4, 0.4]])).left("w", "int8")
    assert left.projection == pytest.approx(0.4 / 0.32, rel=1e-5)
    assert left.unmoved == 0.5
    # D = (1, 0), and what of it is not along (0.4, 0.4) is (0.5, -0.5)
    assert left.noise == pytest.approx(0.5**0.5 / 0.32**0.5, rel=1e-5)


def test_on_the_levels_a_small_update_leaves_nothing_and_elsewhere_noise():
    torch.manual_seed(0)
    plain, update = torch.randn(64, 64), 1e-4 * torch.randn(64, 64)
    on_levels = two(plain, plain + update).in_precision({"w": plain}, "nf4")["w"]
    update[on_levels.abs() == on_levels.view(64, 64).abs().amax(1, keepdim=True)] = 0  # the scales
    left = two(on_levels, on_levels + update).left("w", "nf4")
    assert (left.projection, left.noise, left.unmoved) == (0, 0, 1)
    dithered = two(plain, plain + update).left("w", "nf4")
    assert dithered.projection == pytest.approx(1, abs=0.5)
    assert dithered.noise > 5
    assert 0.99 < dithered.unmoved < 1


def test_float32_keeps_all_and_a_transposed_weight_is_rounded_by_its_inputs():
    torch.manual_seed(0)
    before = torch.randn(8, 4)
    after = before + 0.1 * torch.randn(8, 4)
    assert two(before, after).left("w", "float32").projection == pytest.approx(1, abs=1e-6)
    turned = two(before, after, transposed=("w",)).left("w", "int8")
    assert turned == two(before.T, after.T).left("w", "int8")


def test_other_matrices_are_not_quantized(run, llama):
    weights = updated_weights(run("lora"), llama)
    assert {name.split(".")[-2] for name in weights.changed()} == {"q_proj", "v_proj"}
    rounded = weights.in_precision(weights.before, "nf4")
    same = {name for name in rounded if torch.equal(rounded[name], weights.before[name])}
    assert same == {name for name in rounded if "proj" not in name}
    assert "lm_head.weight" in same


def test_qloras_base_is_on_the_levels(run, llama):
    """Its update is of the quantized weights, which quantizing again leaves as they are."""
    weights = updated_weights(run("qlora", double_quant=False), llama)
    name = "model.layers.0.mlp.down_proj.weight"  # of 64 inputs; others are not quantized here
    own = llama.model.get_parameter(name).detach()
    assert not torch.equal(weights.before[name], own)
    again = weights.in_precision({name: own}, "nf4")[name]
    torch.testing.assert_close(weights.before[name], again, rtol=0, atol=1e-6)


def test_what_can_not_be_merged_says_why(run, llama):
    with pytest.raises(NotApplicable, match="no place for"):
        updated_weights(run("bitfit", add_biases=True), llama)

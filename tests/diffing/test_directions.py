import numpy as np
import pytest
from small_runs import small_trainer

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.delta_factors import DeltaFactors
from peftlens.diffing.directions import Component, _of_update, side_of, update_components
from peftlens.models.base_model import load_base_model
from peftlens.results.table import NotApplicable


@pytest.fixture(scope="module")
def train(bases, words, tmp_path_factory):
    return small_trainer(
        bases, words, tmp_path_factory.mktemp("runs"), max_steps=4, learning_rate=0.02
    )


@pytest.fixture(scope="module")
def base(bases):
    return load_base_model(str(bases["llama"]), device="cpu", dtype="float32")


def require_equal(component, dense):
    """The directions are those of a dense SVD in float64, up to their common sign."""
    u, s, vt = np.linalg.svd(dense.astype(np.float64))
    k = len(component.values)
    np.testing.assert_allclose(component.values, s[:k], rtol=1e-6)
    np.testing.assert_allclose(component.shares, s[:k] ** 2 / (s**2).sum(), rtol=1e-5)
    following = np.append(s, 0)[1 : k + 1]
    np.testing.assert_allclose(component.separation, (s[:k] - following) / s[:k], atol=1e-6)
    for index in range(k):
        pair = np.outer(component.writes[:, index], component.reads[:, index])
        np.testing.assert_allclose(pair, np.outer(u[:, index], vt[index]), atol=1e-5)
    largest = np.abs(component.reads).argmax(axis=0)
    assert (component.reads[largest, range(k)] > 0).all()


def test_a_lora_s_directions_are_those_of_its_dense_update(train, base):
    run = train("lora", rank=2)
    found = update_components(run, base, 2)
    assert len(found) == 6
    with open_run(run, base) as model:
        for one in found:
            layer = model.get_base_model().get_submodule(one.module)
            b, a = (side["default"].weight.double() for side in (layer.lora_B, layer.lora_A))
            require_equal(one, (layer.scaling["default"] * b @ a).detach().numpy())
            assert side_of(one, base) == "reads"


def test_a_full_update_s_directions_are_those_of_the_difference(train, base):
    run = train("full")
    before = {n: p.detach().clone() for n, p in base.model.named_parameters()}
    found = update_components(run, base, 3)
    assert len(found) == 21  # neither the embeddings nor the norms
    with open_run(run, base) as model:
        for one in found:
            change = model.get_parameter(one.weight).detach() - before[one.weight]
            require_equal(one, change.numpy())
    sides = {one.module.split(".")[-1]: side_of(one, base) for one in found}
    reading = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    writing = ("o_proj", "down_proj")
    assert sides == dict.fromkeys(reading, "reads") | dict.fromkeys(writing, "writes")


def test_a_large_dense_update_is_decomposed_in_part():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(530, 600)).astype(np.float32)
    require_equal(_of_update(DeltaFactors(name="w.weight", change=dense), 3), dense)


def test_gpt2_s_transposed_weights_have_their_sides(train, bases):
    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    found = update_components(train("full", "gpt2"), base, 1, neurons=False)
    sides = {".".join(one.module.split(".")[-2:]): side_of(one, base) for one in found}
    assert sides == {
        "attn.c_attn": "reads", "attn.c_proj": "writes", "mlp.c_fc": "reads",
        "mlp.c_proj": "writes",
    }  # fmt: skip


def test_neurons_of_a_bottleneck(train, base):
    run = train("bottleneck", bottleneck_size=4)
    found = update_components(run, base, 2)
    assert len(found) == 6
    with open_run(run, base):
        adapter = base.model.model.layers[0].mlp.bottleneck
        down, up = adapter.down.weight.detach().numpy(), adapter.up.weight.detach().numpy()
    sizes = np.linalg.norm(down, axis=1) * np.linalg.norm(up, axis=0)
    first = int(sizes.argmax())
    reads, writes = found[:2]
    assert reads.values[0] == pytest.approx(sizes[first], rel=1e-5)
    assert reads.shares[0] == pytest.approx(sizes[first] ** 2 / (sizes**2).sum(), rel=1e-5)
    unit = down[first] / np.linalg.norm(down[first])
    np.testing.assert_allclose(reads.reads[:, 0], unit, atol=1e-6)
    unit = up[:, first] / np.linalg.norm(up[:, first])
    np.testing.assert_allclose(writes.writes[:, 0], unit, atol=1e-6)
    assert (side_of(reads, base), side_of(writes, base)) == ("reads", "writes")


def test_changed_biases_write_one_direction(train, base):
    found = update_components(train("bitfit", add_biases=True), base, 2)
    names = {one.weight for one in found if side_of(one, base) == "writes"}
    assert "model.layers.0.self_attn.o_proj.bias" in names
    assert all(one.reads is None and one.writes.shape[1] == 1 for one in found)
    with open_run(train("bitfit", add_biases=True), base) as model:
        bias = model.get_parameter(found[0].weight).detach().numpy()
    assert found[0].values[0] == pytest.approx(np.linalg.norm(bias), rel=1e-5)


@pytest.mark.parametrize("method", ["prompt_tuning", "embeddings", "ln_tuning"])
def test_what_changes_no_matrix_in_a_block_says_so(method, train, base):
    with pytest.raises(NotApplicable, match="no weight matrix in the blocks"):
        update_components(train(method), base, 2)


@pytest.mark.parametrize(
    ("module", "shape", "side"),
    [
        ("model.layers.0.self_attn.q_proj", (32, 32), "reads"),
        ("model.layers.0.self_attn.o_proj", (32, 32), "writes"),
        ("transformer.h.0.attn.c_proj", (32, 32), "writes"),
        ("gpt_neox.layers.0.attention.dense", (32, 32), "writes"),
        ("gpt_neox.layers.0.mlp.dense_4h_to_h", (32, 64), "writes"),
        ("model.decoder.layers.0.self_attn.out_proj", (32, 32), "writes"),
        ("model.decoder.layers.0.fc2", (32, 64), "writes"),
        ("model.decoder.layers.0.fc1", (64, 32), "reads"),
        ("model.layers.0.self_attn.kv_b_proj", (64, 16), None),
    ],
)
def test_sides_by_name_and_shape(module, shape, side, base):
    one = np.ones(1)
    component = Component(
        weight=f"{module}.weight", module=module, values=one, shares=one, separation=one,
        reads=np.ones((shape[1], 1)), writes=np.ones((shape[0], 1)),
    )  # fmt: skip
    assert side_of(component, base) == side

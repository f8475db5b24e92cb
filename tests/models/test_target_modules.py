import pytest
from tiny import ENCODERS, build, build_encoder

from peftlens.errors import InputError
from peftlens.models import architecture, target_modules

KINDS = ("llama", "gpt2", "t5", "neox", "opt")


@pytest.fixture(scope="module")
def shapes():
    models = {kind: build(kind) for kind in KINDS}
    models |= {kind: build_encoder(kind) for kind in ENCODERS}
    return {kind: architecture.shapes(model) for kind, model in models.items()}


def ends(layers, block):
    """Names inside one block of the model."""
    return [name.removeprefix(f"{block}.") for name in layers if name.startswith(f"{block}.")]


def test_linear_layers_by_last_name_part(shapes):
    found = target_modules.linear_layers(shapes["llama"], ("v_proj", "q_proj"))
    assert len(found) == 6
    assert found["model.layers.2.self_attn.v_proj"] == (16, 32)  # out, in
    assert list(found)[:2] == ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]


def test_several_name_parts_tell_layers_of_one_name_apart(shapes):
    found = target_modules.linear_layers(shapes["gpt2"], ("attn.c_proj",))
    assert list(found) == [f"transformer.h.{block}.attn.c_proj" for block in (0, 1)]


def test_half_a_name_is_no_name(shapes):
    with pytest.raises(InputError, match="'proj' matches no layer"):
        target_modules.linear_layers(shapes["llama"], ("proj",))


def test_no_target(shapes):
    with pytest.raises(InputError, match="target_modules names no layer; roles: attention"):
        target_modules.linear_layers(shapes["llama"], ())


@pytest.mark.parametrize(
    ("kind", "layer", "shape"),
    [
        ("gpt2", "transformer.h.0.attn.c_attn", (96, 32)),
        ("gpt2", "transformer.h.0.mlp.c_proj", (32, 128)),
        ("neox", "gpt_neox.layers.0.attention.query_key_value", (96, 32)),
        ("opt", "model.decoder.layers.0.fc2", (32, 64)),
        ("t5", "encoder.block.0.layer.1.DenseReluDense.wi", (64, 32)),
    ],
)
def test_shapes_are_out_and_in_however_a_layer_lies_in_memory(shapes, kind, layer, shape):
    found = target_modules.linear_layers(shapes[kind], ("all_linear",))
    assert found[layer] == shape
    features = {(module.out_features, module.in_features)
                for name, module in build(kind).named_modules()
                if name == layer and hasattr(module, "in_features")}  # fmt: skip
    assert features <= {shape}


LLAMA, GPT2, NEOX, OPT = (
    "model.layers.1",
    "transformer.h.1",
    "gpt_neox.layers.1",
    "model.decoder.layers.1",
)
BERT, ROBERTA, DEBERTA, MODERNBERT = (
    "bert.encoder.layer.1",
    "roberta.encoder.layer.1",
    "deberta.encoder.layer.1",
    "model.layers.1",
)
PROJECTIONS = ["attention.self.query_proj", "attention.self.value_proj"]
SELF = [f"layer.0.SelfAttention.{part}" for part in "qkvo"]
CROSS = [f"layer.1.EncDecAttention.{part}" for part in "qkvo"]
SELF_ATTN = [f"self_attn.{part}_proj" for part in "qkv"]


@pytest.mark.parametrize(
    ("kind", "block", "role", "expected"),
    [
        ("llama", LLAMA, "attention", [*SELF_ATTN, "self_attn.o_proj"]),
        ("llama", LLAMA, "feed_forward", ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
        ("llama", LLAMA, "query_value", ["self_attn.q_proj", "self_attn.v_proj"]),
        ("llama", LLAMA, "key_value", ["self_attn.k_proj", "self_attn.v_proj"]),
        ("llama", LLAMA, "feed_forward_output", ["mlp.down_proj"]),
        ("gpt2", GPT2, "attention", ["attn.c_attn", "attn.c_proj"]),
        ("gpt2", GPT2, "feed_forward", ["mlp.c_fc", "mlp.c_proj"]),
        ("gpt2", GPT2, "query_value", ["attn.c_attn"]),
        ("gpt2", GPT2, "key_value", ["attn.c_attn"]),
        ("gpt2", GPT2, "feed_forward_output", ["mlp.c_proj"]),
        ("t5", "encoder.block.1", "attention", SELF),
        ("t5", "decoder.block.1", "attention", [*SELF, *CROSS]),
        ("t5", "encoder.block.1", "feed_forward",
         ["layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo"]),
        ("t5", "decoder.block.0", "query_value", [SELF[0], SELF[2], CROSS[0], CROSS[2]]),
        ("t5", "decoder.block.0", "key_value", [SELF[1], SELF[2], CROSS[1], CROSS[2]]),
        ("t5", "decoder.block.0", "feed_forward_output", ["layer.2.DenseReluDense.wo"]),
        ("neox", NEOX, "attention", ["attention.query_key_value", "attention.dense"]),
        ("neox", NEOX, "feed_forward", ["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
        ("neox", NEOX, "query_value", ["attention.query_key_value"]),
        ("neox", NEOX, "key_value", ["attention.query_key_value"]),
        ("neox", NEOX, "feed_forward_output", ["mlp.dense_4h_to_h"]),
        ("opt", OPT, "attention", [*SELF_ATTN, "self_attn.out_proj"]),
        ("opt", OPT, "feed_forward", ["fc1", "fc2"]),
        ("opt", OPT, "query_value", ["self_attn.q_proj", "self_attn.v_proj"]),
        ("opt", OPT, "key_value", ["self_attn.k_proj", "self_attn.v_proj"]),
        ("opt", OPT, "feed_forward_output", ["fc2"]),
        ("bert", BERT, "query_value", ["attention.self.query", "attention.self.value"]),
        ("bert", BERT, "feed_forward", ["intermediate.dense", "output.dense"]),
        ("bert", BERT, "feed_forward_output", ["output.dense"]),
        ("roberta", ROBERTA, "key_value", ["attention.self.key", "attention.self.value"]),
        ("deberta", DEBERTA, "query_value", PROJECTIONS),
        ("deberta", DEBERTA, "feed_forward_output", ["output.dense"]),
        ("modernbert", MODERNBERT, "attention", ["attn.Wqkv", "attn.Wo"]),
        ("modernbert", MODERNBERT, "query_value", ["attn.Wqkv"]),
        ("modernbert", MODERNBERT, "feed_forward", ["mlp.Wi", "mlp.Wo"]),
        ("modernbert", MODERNBERT, "feed_forward_output", ["mlp.Wo"]),
    ],
)  # fmt: skip
def test_roles(shapes, kind, block, role, expected):
    found = target_modules.linear_layers(shapes[kind], (role,))
    assert set(ends(found, block)) == set(expected)
    blocks = architecture.blocks(shapes[kind])
    assert all(any(name.startswith(f"{one}.") for one in blocks) for name in found)


@pytest.mark.parametrize(
    ("kind", "count"), [("llama", 3 * 7), ("gpt2", 2 * 4), ("t5", 2 * 6 + 2 * 10), ("neox", 2 * 4),
                        ("opt", 2 * 6)]
)  # fmt: skip
def test_all_linear_layers_are_those_of_the_blocks(shapes, kind, count):
    assert len(target_modules.linear_layers(shapes[kind], ("all_linear",))) == count


def test_short_names_mean_the_chosen_layers_and_no_others(shapes):
    def short(kind, *targets):
        chosen = target_modules.linear_layers(shapes[kind], targets)
        found = target_modules.short_names(chosen, shapes[kind])
        assert target_modules.linear_layers(shapes[kind], found) == chosen
        return found

    assert short("llama", "query_value") == ["q_proj", "v_proj"]
    assert short("gpt2", "feed_forward") == ["c_fc", "mlp.c_proj"]
    assert short("gpt2", "attention", "feed_forward") == ["c_attn", "c_proj", "c_fc"]
    assert short("llama", "1.self_attn.q_proj") == ["1.self_attn.q_proj"]


def test_target_that_matches_nothing_lists_what_there_is(shapes):
    with pytest.raises(
        InputError, match="'q_proj' matches no layer; .* end in c_attn, c_proj, c_fc"
    ):
        target_modules.linear_layers(shapes["gpt2"], ("q_proj",))


ROUTED = {
    "model.layers.0.self_attn.q_proj.weight": (32, 32),
    "model.layers.0.mlp.gate.weight": (4, 32),
    "model.layers.0.mlp.experts.gate_up_proj": (4, 128, 32),
    "model.layers.0.mlp.experts.down_proj": (4, 32, 64),
    "model.layers.0.mlp.shared_experts.down_proj.weight": (32, 64),
    "model.layers.0.mlp.shared_expert_gate.weight": (1, 32),
    "model.layers.0.conv1d.weight": (64, 1, 4),
}
EXPERTS = ["model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"]
SHARED = "model.layers.0.mlp.shared_experts.down_proj.weight"
ROUTERS = ["model.layers.0.mlp.gate.weight", "model.layers.0.mlp.shared_expert_gate.weight"]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("experts", EXPERTS),
        ("router", ROUTERS),
        ("feed_forward", [*EXPERTS, SHARED]),
        ("feed_forward_output", [EXPERTS[1], SHARED]),
        ("all_linear", ["model.layers.0.self_attn.q_proj.weight", *EXPERTS, SHARED]),
        ("attention", ["model.layers.0.self_attn.q_proj.weight"]),
        ("mlp.gate", ROUTERS[:1]),
        ("experts.down_proj", EXPERTS[1:]),
    ],
)
def test_roles_of_experts_and_routers(role, expected):
    found = target_modules.target_weights(ROUTED, (role,))
    assert list(found) == expected
    assert found == {
        name: shape if len(shape) == 3 else (1, *shape)
        for name, shape in ROUTED.items()
        if name in expected
    }


@pytest.mark.parametrize("role", ["experts", "feed_forward", "all_linear", "feed_forward_output"])
def test_experts_are_no_linear_layers(role):
    with pytest.raises(InputError, match=r"include this model's experts .*lora, lora_plus"):
        target_modules.linear_layers(ROUTED, (role,))


def test_a_gate_without_experts_is_a_layer_like_any_other():
    shapes = {"layers.0.mlp.gate.weight": (64, 32)}
    assert target_modules.linear_layers(shapes, ("all_linear",)) == {"layers.0.mlp.gate": (64, 32)}
    with pytest.raises(InputError, match="'router' matches no layer"):
        target_modules.linear_layers(shapes, ("router",))


def test_layers_of_blocks_are_no_routers():
    assert list(target_modules.block_layers(ROUTED)) == [
        "model.layers.0.self_attn.q_proj", SHARED.removesuffix(".weight")
    ]  # fmt: skip
    assert target_modules.feed_forward_layers(ROUTED) == {SHARED.removesuffix(".weight")}


def test_short_names_of_parameters():
    assert target_modules.short_names(EXPERTS, ROUTED) == [
        "experts.gate_up_proj",
        "experts.down_proj",
    ]
    assert target_modules.short_names([SHARED], ROUTED) == ["down_proj.weight"]


@pytest.mark.parametrize(
    ("names", "role", "expected"),
    [
        (("attn.Wqkv", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"), "query_value", (0,)),
        (("attn.Wqkv", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"), "feed_forward", (2, 3)),
        (("self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa",
          "self_attn.kv_b_proj", "self_attn.o_proj"), "query_value", (1, 3)),
        (("self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_b_proj"), "key_value", (2,)),
        (("attn.q_proj", "mlp.fc_in", "mlp.fc_out"), "feed_forward_output", (2,)),
        (("self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"), "query_value", (0,)),
        (("self_attention.query_key_value", "mlp.dense_4h_to_h"), "attention", (0,)),
    ],
)  # fmt: skip
def test_roles_of_other_architectures(names, role, expected):
    shapes = {f"h.0.{name}.weight": (8, 8) for name in names}
    found = target_modules.linear_layers(shapes, (role,))
    assert list(found) == [f"h.0.{names[index]}" for index in expected]


@pytest.mark.parametrize(
    ("target", "meant"),
    [("attn", "attention"), ("Q_proj", "q_proj"), ("all_linears", "all_linear")],
)
def test_a_misspelled_target_has_the_nearest_role_or_name(target, meant):
    with pytest.raises(InputError, match=f"{target}' matches no layer; did you mean {meant}"):
        target_modules.linear_layers(architecture.shapes(build("llama")), (target,))

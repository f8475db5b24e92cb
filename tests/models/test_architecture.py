import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.models import architecture

KINDS = ("llama", "gpt2", "t5", "neox", "opt")


@pytest.fixture(scope="module")
def shapes():
    return {kind: architecture.shapes(build(kind)) for kind in KINDS}


def ends(layers, block):
    """Names inside one block of the model."""
    return [name.removeprefix(f"{block}.") for name in layers if name.startswith(f"{block}.")]


def test_embedding(shapes):
    assert {kind: architecture.embedding(shapes[kind]) for kind in shapes} == dict.fromkeys(
        KINDS, (259, 32)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_embedding_weight_is_the_table_itself(kind):
    model = build(kind)
    row = model.get_input_embeddings()(torch.tensor([7]))[0]
    assert torch.equal(architecture.embedding_weight(model)[7], row)


def test_tied_weights_count_once(shapes):
    assert "lm_head.weight" not in shapes["llama"]


def test_linear_layers_by_last_name_part(shapes):
    found = architecture.linear_layers(shapes["llama"], ("v_proj", "q_proj"))
    assert len(found) == 6
    assert found["model.layers.2.self_attn.v_proj"] == (16, 32)  # out, in
    assert list(found)[:2] == ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]


def test_several_name_parts_tell_layers_of_one_name_apart(shapes):
    found = architecture.linear_layers(shapes["gpt2"], ("attn.c_proj",))
    assert list(found) == [f"transformer.h.{block}.attn.c_proj" for block in (0, 1)]


def test_half_a_name_is_no_name(shapes):
    with pytest.raises(InputError, match="'proj' matches no layer"):
        architecture.linear_layers(shapes["llama"], ("proj",))


def test_no_target(shapes):
    with pytest.raises(InputError, match="target_modules names no layer; roles: attention"):
        architecture.linear_layers(shapes["llama"], ())


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
    found = architecture.linear_layers(shapes[kind], ("all_linear",))
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
    ],
)  # fmt: skip
def test_roles(shapes, kind, block, role, expected):
    found = architecture.linear_layers(shapes[kind], (role,))
    assert set(ends(found, block)) == set(expected)
    blocks = architecture.blocks(shapes[kind])
    assert all(any(name.startswith(f"{one}.") for one in blocks) for name in found)


@pytest.mark.parametrize(
    ("kind", "count"), [("llama", 3 * 7), ("gpt2", 2 * 4), ("t5", 2 * 6 + 2 * 10), ("neox", 2 * 4),
                        ("opt", 2 * 6)]
)  # fmt: skip
def test_all_linear_layers_are_those_of_the_blocks(shapes, kind, count):
    assert len(architecture.linear_layers(shapes[kind], ("all_linear",))) == count


def test_short_names_mean_the_chosen_layers_and_no_others(shapes):
    def short(kind, *targets):
        chosen = architecture.linear_layers(shapes[kind], targets)
        found = architecture.short_names(chosen, shapes[kind])
        assert architecture.linear_layers(shapes[kind], found) == chosen
        return found

    assert short("llama", "query_value") == ["q_proj", "v_proj"]
    assert short("gpt2", "feed_forward") == ["c_fc", "mlp.c_proj"]
    assert short("gpt2", "attention", "feed_forward") == ["c_attn", "c_proj", "c_fc"]
    assert short("llama", "1.self_attn.q_proj") == ["1.self_attn.q_proj"]


def test_target_that_matches_nothing_lists_what_there_is(shapes):
    with pytest.raises(
        InputError, match="'q_proj' matches no layer; .* end in c_attn, c_proj, c_fc"
    ):
        architecture.linear_layers(shapes["gpt2"], ("q_proj",))


def test_last_blocks_are_the_decoders(shapes):
    found = architecture.last_blocks(shapes["t5"], 1)
    assert all(name.startswith("decoder.block.1.") for name in found)
    assert "decoder.block.1.layer.1.EncDecAttention.q.weight" in found


@pytest.mark.parametrize("count", [0, 4])
def test_block_count_out_of_range(shapes, count):
    with pytest.raises(InputError, match="must lie between 1 and 3"):
        architecture.last_blocks(shapes["llama"], count)


def test_norms(shapes):
    assert len(architecture.norms(shapes["llama"])) == 7  # two a block and the last one
    assert len(architecture.norms(shapes["gpt2"])) == 10  # gain and bias
    assert len(architecture.norms(shapes["t5"])) == 12  # 2 and 3 a block, and one after each stack


@pytest.mark.parametrize(
    ("kind", "attention", "feed_forward"),
    [
        ("llama", "self_attn", "mlp"),
        ("gpt2", "attn", "mlp"),
        ("neox", "attention", "mlp"),
        ("opt", "self_attn", "fc2"),
    ],
)
def test_sites_are_one_a_block_and_as_wide_as_the_residual_stream(
    shapes, kind, attention, feed_forward
):
    blocks = architecture.blocks(shapes[kind])
    for role, end in {"attention": attention, "feed_forward": feed_forward}.items():
        expected = {f"{block}.{end}": 32 for block in blocks}
        assert architecture.sites(shapes[kind], role) == expected


def test_sites_of_an_encoder_decoder(shapes):
    attention = architecture.sites(shapes["t5"], "attention")
    assert list(attention) == [
        f"{stack}.block.{block}.layer.0.SelfAttention"
        for stack in ("encoder", "decoder") for block in (0, 1)
    ]  # fmt: skip
    feed_forward = architecture.sites(shapes["t5"], "feed_forward")
    assert list(feed_forward)[1:3] == [
        "encoder.block.1.layer.1.DenseReluDense", "decoder.block.0.layer.2.DenseReluDense"
    ]  # fmt: skip


def test_blocks(shapes):
    assert architecture.blocks(shapes["llama"]) == [f"model.layers.{block}" for block in range(3)]
    assert architecture.blocks(shapes["t5"]) == [
        "encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"
    ]  # fmt: skip


def test_only_t5_has_an_encoder(shapes):
    assert [kind for kind in KINDS if architecture.has_encoder(shapes[kind])] == ["t5"]


@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        ("llama", [16, 16, 16]),  # two heads of 8
        ("gpt2", [32, 32]),  # a third of 96
        ("neox", [32, 32]),
        ("opt", [32, 32]),
        ("t5", [32, 32]),  # the decoder's own, not those that look at the encoder
    ],
)
def test_key_widths(shapes, kind, widths):
    assert architecture.key_widths(shapes[kind]) == widths


def test_unknown_architecture():
    strange = {"tower.0.thing.weight": (4, 4)}
    for find in (architecture.embedding, architecture.norms, architecture.key_widths):
        with pytest.raises(InputError):
            find(strange)
    for role in ("attention", "feed_forward"):
        with pytest.raises(InputError, match=f"no {role.replace('_', '-')} module"):
            architecture.sites(strange, role)
    with pytest.raises(InputError, match="no numbered transformer blocks"):
        architecture.blocks({"thing.weight": (4, 4)})


def test_thaw_trains_copies_and_keeps_shared_weights_shared():
    model = build("llama")
    original = model.model.embed_tokens.weight
    architecture.thaw(model, {"model.embed_tokens.weight"})
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["model.embed_tokens.weight"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert original.any()


def test_copied_weights_are_frozen_equal_and_others_stay():
    model = build("gpt2")
    first, second = (block.attn.c_attn for block in model.transformer.h)
    original, other = first.weight, second.weight
    copies = architecture.copy_weights(model, {"transformer.h.0.attn.c_attn.weight"})
    assert [id(copy) for copy in copies] == [id(first.weight)]
    assert first.weight is not original
    assert torch.equal(first.weight, original)
    assert first.weight.data_ptr() != original.data_ptr()
    assert not first.weight.requires_grad
    assert second.weight is other


def test_a_copy_of_a_shared_weight_is_shared():
    model = build("llama")
    architecture.copy_weights(model, {"model.embed_tokens.weight"})
    assert model.lm_head.weight is model.model.embed_tokens.weight

import pytest
import torch
from tiny import ENCODERS, build, build_encoder

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


@pytest.mark.parametrize("kind", ENCODERS)
def test_embedding_of_an_encoder(kind):
    """The table of tokens, and not that of positions or segments."""
    model = build_encoder(kind)
    (name,) = (n for n, p in model.named_parameters() if p is model.get_input_embeddings().weight)
    shapes = architecture.shapes(model)
    assert architecture.embedding(shapes) == (259, 32)
    assert architecture.embedding({name: shapes[name]}) == (259, 32)
    assert architecture.part_of(name) == "embeddings"


@pytest.mark.parametrize("kind", KINDS)
def test_embedding_weight_is_the_table_itself(kind):
    model = build(kind)
    row = model.get_input_embeddings()(torch.tensor([7]))[0]
    assert torch.equal(architecture.embedding_weight(model)[7], row)


def test_tied_weights_count_once(shapes):
    assert "lm_head.weight" not in shapes["llama"]


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

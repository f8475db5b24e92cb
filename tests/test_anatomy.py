import pytest
import torch
from tiny import build

from peftlens import anatomy
from peftlens.errors import BadInput


@pytest.fixture(scope="module")
def shapes():
    return {kind: anatomy.shapes(build(kind)) for kind in ("llama", "gpt2", "t5")}


def test_embedding(shapes):
    assert {kind: anatomy.embedding(shapes[kind]) for kind in shapes} == dict.fromkeys(
        ("llama", "gpt2", "t5"), (259, 32)
    )


def test_tied_weights_count_once(shapes):
    assert "lm_head.weight" not in shapes["llama"]


def test_linear_weights_by_last_name_part(shapes):
    found = anatomy.linear_weights(shapes["llama"], ("q_proj", "v_proj"))
    assert len(found) == 6
    assert found["model.layers.2.self_attn.v_proj.weight"] == (16, 32)


def test_target_that_matches_nothing_lists_what_there_is(shapes):
    with pytest.raises(BadInput, match="'q_proj' matches no layer; .* end in c_attn, c_proj, c_fc"):
        anatomy.linear_weights(shapes["gpt2"], ("q_proj",))


def test_last_blocks_are_the_decoders(shapes):
    found = anatomy.last_blocks(shapes["t5"], 1)
    assert all(name.startswith("decoder.block.1.") for name in found)
    assert "decoder.block.1.layer.1.EncDecAttention.q.weight" in found


@pytest.mark.parametrize("count", [0, 4])
def test_block_count_out_of_range(shapes, count):
    with pytest.raises(BadInput, match="must lie between 1 and 3"):
        anatomy.last_blocks(shapes["llama"], count)


def test_norms(shapes):
    assert len(anatomy.norms(shapes["llama"])) == 7  # two a block and the last one
    assert len(anatomy.norms(shapes["gpt2"])) == 10  # gain and bias
    assert len(anatomy.norms(shapes["t5"])) == 12  # 2 and 3 a block, and one after each stack


def test_feed_forwards(shapes):
    assert anatomy.feed_forwards(shapes["gpt2"]) == ["transformer.h.0.mlp", "transformer.h.1.mlp"]
    assert anatomy.feed_forwards(shapes["t5"])[0] == "encoder.block.0.layer.1.DenseReluDense"


def test_unknown_architecture():
    strange = {"tower.0.thing.weight": (4, 4)}
    for find in (anatomy.embedding, anatomy.norms, anatomy.feed_forwards):
        with pytest.raises(BadInput):
            find(strange)


def test_thaw_trains_copies_and_keeps_shared_weights_shared():
    model = build("llama")
    original = model.model.embed_tokens.weight
    anatomy.thaw(model, {"model.embed_tokens.weight"})
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["model.embed_tokens.weight"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert original.any()

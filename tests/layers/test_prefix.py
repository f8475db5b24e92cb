import pytest
import torch
import transformers as hf
from tiny import SIZES, build, build_encoder

from peftlens.errors import InputError
from peftlens.layers.prefix import Prefix, geometry, initial_states, prefix_parameters
from peftlens.methods import prefix_tuning
from peftlens.models.architecture import shapes


def fill(prefix, read):
    with torch.no_grad():
        for layer, states in zip(read.layers, prefix.states, strict=True):
            states.copy_(torch.stack([layer.keys[0], layer.values[0]]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "neox", "opt"])
def test_prefix_is_read_as_if_it_were_tokens(kind):
    model = build(kind)
    ids = torch.tensor([[5, 6, 7], [7, 6, 5]])
    behind = torch.tensor([[8, 9]])
    expected = model(torch.cat([behind.expand(2, -1), ids], dim=1)).logits[:, 2:]
    read = model(behind, use_cache=True).past_key_values
    prefix = Prefix(model, 2)
    prefix.put_before(model)
    fill(prefix, read)
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    mask = torch.ones_like(ids)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_of_one_layer_reads_a_prefix_as_tokens(kind):
    """In deeper ones, tokens in front would read the input, too, which a prefix does not."""
    model = build_encoder(kind)
    model.base_model.encoder.layer = model.base_model.encoder.layer[:1]
    ids, front = torch.tensor([[5, 6, 7], [7, 6, 0]]), torch.tensor([[8, 9]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    inputs = torch.cat([front.expand(2, -1), ids], dim=1)
    expected = model(inputs, attention_mask=torch.cat([mask[:, :1]] * 2 + [mask], dim=1)).logits
    read = hf.DynamicCache()
    model(front, past_key_values=read, use_cache=True)
    prefix = Prefix(model, 2)
    prefix.put_before(model)
    fill(prefix, read)
    found = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found[mask > 0], expected[:, 2:][mask > 0])


def test_padding_stays_unseen():
    model = build("llama")
    Prefix(model, 2).put_before(model)
    short = model(input_ids=torch.tensor([[5, 6]])).logits
    padded = model(
        input_ids=torch.tensor([[5, 6, 0]]), attention_mask=torch.tensor([[1, 1, 0]])
    ).logits
    torch.testing.assert_close(padded[:, :2], short)


def test_every_pass_starts_anew():
    model = build("llama")
    Prefix(model, 2).put_before(model)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("given", ["decoder_input_ids", "labels"])
def test_an_encoder_decoders_decoder_reads_it(given):
    model = build("t5")
    ids, answer = torch.tensor([[5, 6, 7]]), torch.tensor([[0, 8]])
    plain = model(input_ids=ids, **{given: answer}).logits
    encoded = model.encoder(input_ids=ids).last_hidden_state
    prefix = Prefix(model, 2)
    prefix.put_before(model)
    with torch.no_grad():
        prefix.states.fill_(0.5)
    assert torch.equal(model.encoder(input_ids=ids).last_hidden_state, encoded)
    assert not torch.allclose(model(input_ids=ids, **{given: answer}).logits, plain)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("llama", (3, 2, 8)), ("gpt2", (2, 4, 8)), ("t5", (2, 4, 8)), ("opt", (2, 4, 8))],
)
def test_geometry(kind, expected):
    assert geometry(build(kind).config) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "neox", "opt"])
def test_parameters_are_those_of_the_states(kind):
    model = build(kind)
    heads = 16 if kind == "llama" else 32
    expected = 2 * 5 * geometry(model.config)[0] * heads
    assert Prefix(model, 5).states.numel() == expected
    assert prefix_parameters(shapes(model), 5) == expected


def test_length_of_zero():
    with pytest.raises(InputError, match="num_virtual_tokens=0 must be .* at least 1"):
        prefix_parameters(shapes(build("llama")), 0)


BART = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 64,
        "max_position_embeddings": 128, "decoder_start_token_id": 1}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 4, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 3,
      "num_heads": 4, "decoder_start_token_id": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        (hf.BartForConditionalGeneration, hf.BartConfig(**SIZES, **BART), (2, 4, 8)),
        (hf.T5ForConditionalGeneration, hf.T5Config(**SIZES, **T5), (3, 4, 4)),
    ],
)
def test_a_decoder_has_its_own_depth_heads_and_widths(kind, config, expected):
    torch.manual_seed(0)
    model = kind(config).eval()
    of_model = shapes(model)
    layers, heads, size = expected
    assert geometry(config) == expected
    assert initial_states(model, 5, ()).shape == (layers, 2, heads, 5, size)
    assert prefix_parameters(of_model, 5) == 2 * 5 * layers * heads * size
    wrapped = prefix_tuning.attach(model, prefix_tuning.Config(num_virtual_tokens=5))
    trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert trained == 2 * 5 * layers * heads * size
    ids = torch.arange(3, 9)[None]
    assert wrapped(input_ids=ids, decoder_input_ids=ids).logits.isfinite().all()


def test_no_prefix_without_keys():
    model = hf.MambaForCausalLM(hf.MambaConfig(**SIZES, hidden_size=32, num_hidden_layers=2))
    with pytest.raises(InputError, match="no prefix fits"):
        prefix_parameters(shapes(model), 5)

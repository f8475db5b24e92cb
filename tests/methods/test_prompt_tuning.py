import pytest
import torch
from tiny import SIZES, build, byte_tokenizer, setting
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GemmaConfig, GemmaForCausalLM

from peftlens.errors import InputError
from peftlens.methods.prompt_tuning import (
    Config,
    attach,
    regularization_loss,
    resolve_config,
    trainable_parameters,
)
from peftlens.models.architecture import shapes


def start(config):
    torch.manual_seed(0)
    model = build("llama")
    table = model.get_input_embeddings().weight.detach()
    return attach(model, config).prompt_encoder["default"].embedding.weight.detach(), table


def test_vocabulary_start_is_rows_of_the_table_without_repeats():
    prompt, table = start(Config(num_virtual_tokens=50))
    rows = [(table == vector).all(dim=1).nonzero().item() for vector in prompt]
    assert len(set(rows)) == 50


def test_common_tokens_are_filled_in_where_tokens_are_drawn():
    common = ((3, 258),)  # not the special tokens 0 to 2
    assert resolve_config(Config(), setting()).common_ids == common
    assert resolve_config(Config(init="labels"), setting()).common_ids == common
    assert resolve_config(Config(init="random"), setting()).common_ids == ()
    prompt, table = start(Config(num_virtual_tokens=3, common_ids=((7, 8), (90, 90))))
    assert {*map(tuple, prompt.tolist())} == {*map(tuple, table[[7, 8, 90]].tolist())}


def test_random_start_is_uniform_and_as_long_as_tokens():
    prompt, table = start(Config(num_virtual_tokens=60, init="random"))
    length = table.norm(dim=1).median().item()
    assert prompt.norm(dim=1).mean().item() == pytest.approx(length, rel=0.03)
    most = length * (3 / 32) ** 0.5
    assert most * 0.98 < prompt.abs().max() <= most


GEMMAS = [(GemmaForCausalLM, GemmaConfig), (Gemma3ForCausalLM, Gemma3TextConfig)]


@pytest.mark.parametrize(("kind", "kind_config"), GEMMAS)
def test_embeddings_that_the_layer_scales_start_as_the_model_reads_them(kind, kind_config):
    """Gemma's embedding layer multiplies its rows by √d, here 5.7."""
    options = SIZES | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                       "num_attention_heads": 4, "num_key_value_heads": 2,
                       "head_dim": 8}  # fmt: skip
    torch.manual_seed(0)
    model = kind(kind_config(**options)).eval()
    seen = {}
    model.get_input_embeddings().register_forward_hook(lambda _, __, out: seen.update(read=out))
    model(torch.tensor([[43, 72, 72, 79]]))
    text = Config(num_virtual_tokens=3, init="text", init_ids=((43,), (72, 79), (72,)),
                  anchor_weight=2.0, anchor_ids=(43, 72, 79))  # fmt: skip
    one, two, _, three = seen["read"][0].detach()
    wrapped = attach(model, text)
    found = wrapped.prompt_encoder["default"].embedding.weight
    expected = torch.stack([one, (two + three) / 2, two])
    torch.testing.assert_close(found.detach(), expected)
    pull = (expected - torch.stack([one, two, three])).square().sum(dim=1).mean()
    torch.testing.assert_close(regularization_loss(wrapped, text).detach(), 2 * pull)


def test_text_start_repeats_the_text():
    config = resolve_config(Config(num_virtual_tokens=5, init="text", init_text="ab"), setting())
    a, b = byte_tokenizer().encode("ab")
    assert config.init_ids == ((a,), (b,), (a,), (b,), (a,))
    prompt, table = start(config)
    assert torch.equal(prompt, table[[a, b, a, b, a]])


def test_label_start_is_the_mean_over_a_labels_tokens():
    config = resolve_config(
        Config(num_virtual_tokens=3, init="labels"), setting(labels=("ab", "c"))
    )
    assert [len(ids) for ids in config.init_ids] == [2, 1]
    prompt, table = start(config)
    torch.testing.assert_close(prompt[0], table[list(config.init_ids[0])].mean(dim=0))
    assert any(torch.equal(prompt[2], row) for row in table)


def test_the_prompt_stands_before_the_input():
    torch.manual_seed(0)
    model = build("llama")
    ids = torch.tensor([[5, 6, 7]])
    config = Config(num_virtual_tokens=2, init="text", init_ids=((8,), (9,)))
    expected = model(torch.tensor([[8, 9, 5, 6, 7]])).logits
    wrapped = attach(model, config)
    found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected)


def test_pull_is_gamma_times_the_mean_squared_distance_to_the_text():
    given = Config(num_virtual_tokens=3, init="random", anchor_weight=0.5, anchor_text="ab")
    config = resolve_config(given, setting())
    model = attach(build("llama"), config)
    vectors = model.prompt_encoder["default"].embedding.weight
    targets = model.word_embeddings.weight[byte_tokenizer().encode("aba")]
    expected = 0.5 * sum((v - t).pow(2).sum() for v, t in zip(vectors, targets, strict=True)) / 3
    torch.testing.assert_close(regularization_loss(model, config), expected)
    regularization_loss(model, config).backward()
    torch.testing.assert_close(vectors.grad, (vectors - targets).detach() / 3)


def test_without_a_text_nothing_pulls():
    config = Config(num_virtual_tokens=3)
    model = attach(build("llama"), config)
    regularization_loss(model, config).backward()
    assert not model.prompt_encoder["default"].embedding.weight.grad.any()


def test_negative_pull_is_refused():
    with pytest.raises(InputError, match="anchor_weight=-1 must be finite and at least 0"):
        trainable_parameters(Config(anchor_weight=-1.0), shapes(build("llama")))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(init="text"), "init_text='' has no tokens"),
        (Config(anchor_weight=1.0), "anchor_text='' has no tokens"),
        (Config(init="labels"), "needs a task with labels"),
    ],
)
def test_start_that_can_not_be_made(config, message):
    with pytest.raises(InputError, match=message):
        resolve_config(config, setting(labels=()))


@pytest.mark.parametrize(
    "config",
    [
        Config(num_virtual_tokens=2, init_ids=((1,), (2,), (3,))),
        Config(init_ids=((),)),
        Config(init_ids=((259,),)),
        Config(num_virtual_tokens=2, anchor_weight=1.0, anchor_ids=(1,)),
        Config(num_virtual_tokens=1, anchor_weight=1.0, anchor_ids=(-1,)),
    ],
)
def test_ids_that_do_not_fit_are_refused(config):
    with pytest.raises(InputError, match=r"(init|anchor)_ids must hold"):
        trainable_parameters(config, shapes(build("llama")))


@pytest.mark.parametrize("n", [0, 10_000_000])
def test_length_out_of_range_is_refused_before_anything_is_allocated(n):
    with pytest.raises(InputError, match="must lie between 1 and 259"):
        trainable_parameters(Config(num_virtual_tokens=n), shapes(build("llama")))

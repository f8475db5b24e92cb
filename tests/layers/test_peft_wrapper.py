import peft
import pytest
import torch
from tiny import SIZES, build
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM, OPTConfig, OPTForCausalLM
from transformers.pytorch_utils import Conv1D

from peftlens.errors import InputError
from peftlens.layers.peft_wrapper import add_task_ids, straighten, wrap, wrap_prompt, wrap_whole
from peftlens.methods import cpt


def adapted(wrapped):
    found = {name.rpartition(".lora_A")[0] for name, _ in wrapped.named_parameters()
             if ".lora_A." in name}  # fmt: skip
    return sorted(name.removeprefix("base_model.model.transformer.h.") for name in found)


def test_straight_layers_give_equal_outputs_from_a_copy():
    model = build("gpt2")
    name = "transformer.h.1.mlp.c_fc"
    before = model.get_submodule(name)
    x = torch.randn(2, 3, 32)
    plain = before(x)
    straighten(model, [name])
    after = model.get_submodule(name)
    assert isinstance(before, Conv1D)
    assert type(after) is nn.Linear
    assert (after.in_features, after.out_features) == (32, 128)
    torch.testing.assert_close(after(x), plain)
    assert torch.equal(after.weight, before.weight.T)
    assert after.weight.is_contiguous()
    assert after.bias is before.bias
    assert isinstance(model.transformer.h[0].mlp.c_fc, Conv1D)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("query_value", ["0.attn.c_attn", "1.attn.c_attn"]),
        ("attention", ["0.attn.c_attn", "0.attn.c_proj", "1.attn.c_attn", "1.attn.c_proj"]),
        ("feed_forward_output", ["0.mlp.c_proj", "1.mlp.c_proj"]),
    ],
)
@pytest.mark.parametrize("straight", [False, True])
def test_roles_on_gpt2(role, expected, straight):
    model = build("gpt2")
    ids = torch.tensor([[5, 6, 7]])
    plain = model(ids).logits
    wrapped = wrap(model, peft.LoraConfig, (role,), straight=straight, r=2)
    assert adapted(wrapped) == expected
    torch.testing.assert_close(wrapped(input_ids=ids).logits, plain)
    layer = wrapped.base_model.model.get_submodule(f"transformer.h.{expected[0]}").base_layer
    assert isinstance(layer, nn.Linear if straight else Conv1D)


def test_methods_that_do_not_know_transposed_layers_get_straight_ones():
    wrapped = wrap(build("gpt2"), peft.OFTConfig, ("query_value",), oft_block_size=8)
    layer = wrapped.base_model.model.transformer.h[0].attn.c_attn.base_layer
    assert type(layer) is nn.Linear
    # OFT rotates inputs: 32 / 8 blocks of 28 angles, two layers
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == 2 * 4 * 28


def test_what_is_trained_is_in_float32():
    wrapped = wrap(build("llama").to(torch.bfloat16), peft.LoraConfig, ("q_proj",), r=2)
    trained = {p.dtype for p in wrapped.parameters() if p.requires_grad}
    frozen = {p.dtype for p in wrapped.parameters() if not p.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_target_that_matches_nothing():
    with pytest.raises(InputError, match="'query' matches no layer"):
        wrap(build("llama"), peft.LoraConfig, ("query",), r=2)


@pytest.mark.parametrize(("kind", "expected"), [("llama", "CAUSAL_LM"), ("t5", "SEQ_2_SEQ_LM")])
def test_peft_is_told_the_kind_of_model(kind, expected):
    wrapped = wrap_whole(build(kind), peft.LoraConfig, target_modules="all-linear", r=2)
    assert wrapped.peft_config["default"].task_type == expected


def test_a_prompt_before_an_encoder_is_made_once():
    wrapped = wrap_prompt(build("t5"), peft.PromptTuningConfig, 3)
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [(3, 32)]


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_all_examples_are_of_the_first_task(kind):
    wrapped = wrap_prompt(
        build(kind),
        peft.MultitaskPromptTuningConfig,
        2,
        num_tasks=2,
        num_transformer_submodules=None,
    )
    prompt, seen = wrapped.prompt_encoder["default"], []
    prompt.register_forward_pre_hook(lambda _, args: seen.append(args[1].tolist()))
    add_task_ids(wrapped)
    ids = torch.tensor([[5, 6], [7, 8]])
    inputs = {"decoder_input_ids": ids} if kind == "t5" else {}
    wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs)
    assert seen[0] == [0, 0]


def test_task_ids_that_are_given_stay():
    wrapped = wrap_prompt(build("llama"), peft.MultitaskPromptTuningConfig, 2, num_tasks=2)
    prompt, seen = wrapped.prompt_encoder["default"], []
    prompt.register_forward_pre_hook(lambda _, args: seen.append(args[1].tolist()))
    add_task_ids(wrapped)
    ids = torch.tensor([[5, 6]])
    wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), task_ids=torch.tensor([1]))
    assert seen == [[1]]


def narrow():
    """A tiny OPT whose embeddings are narrower than its blocks, as OPT-350m's."""
    torch.manual_seed(0)
    config = OPTConfig(
        **SIZES, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128, word_embed_proj_dim=16, do_layer_norm_before=False,
    )  # fmt: skip
    return OPTForCausalLM(config).eval()


@pytest.mark.parametrize("kind", [peft.PromptTuningConfig, peft.PromptEncoderConfig])
def test_a_prompt_is_as_wide_as_the_embeddings(kind):
    wrapped = wrap_prompt(narrow(), kind, 3)
    assert wrapped.get_prompt(1).shape == (1, 3, 16)
    assert wrapped(input_ids=torch.arange(3, 9)[None]).logits.isfinite().all()


def test_cpt_does_not_fit_narrow_embeddings():
    config = cpt.Config(token_ids=(5, 6), token_types=(2, 4))
    with pytest.raises(InputError, match="embeddings have 16 entries; use prompt_tuning"):
        cpt.attach(narrow(), config)


def test_a_value_that_peft_refuses_is_told_in_a_line():
    with pytest.raises(InputError, match="should be a positive integer"):
        wrap(build("llama"), peft.LoraConfig, ("q_proj",), r=0)


def test_only_lora_adapts_a_router_that_is_no_linear_layer():
    model = MixtralForCausalLM(
        MixtralConfig(**SIZES, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                      num_attention_heads=4, num_key_value_heads=2, num_local_experts=4)
    )  # fmt: skip
    with pytest.raises(InputError, match="MixtralTopKRouter and no linear layer"):
        wrap(model, peft.VeraConfig, ("router",), r=2)
    assert wrap(model, peft.LoraConfig, ("router",), r=2).targeted_parameter_names == [
        "model.layers.0.mlp.gate.weight"
    ]

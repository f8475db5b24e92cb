import pytest
import torch
import transformers as hf
from tiny import SIZES, build

from peftlens.errors import InputError
from peftlens.models.causality import require_causal

SMALL = {"vocab_size": 259, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "max_position_embeddings": 256}  # fmt: skip
ROUTED = SMALL | SIZES | {"num_key_value_heads": 2, "num_local_experts": 4}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "neox", "opt"])
def test_decoders_are_causal(kind, dtype):
    require_causal(build(kind).to(dtype), kind)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (hf.BertLMHeadModel, hf.BertConfig(**SMALL)),
        (hf.ElectraForCausalLM, hf.ElectraConfig(**SMALL, embedding_size=32)),
        (hf.XLMRobertaForCausalLM, hf.XLMRobertaConfig(**SMALL)),
    ],
)
def test_encoders_are_refused(kind, config, dtype):
    torch.manual_seed(0)
    model = kind(config).eval().to(dtype)
    with pytest.raises(InputError, match="'mine' is not a causal language model"):
        require_causal(model, "mine")


def test_an_encoder_that_was_made_a_decoder_is_causal():
    torch.manual_seed(0)
    require_causal(hf.BertLMHeadModel(hf.BertConfig(**SMALL, is_decoder=True)).eval(), "mine")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_in_groups_of_experts_is_not_reading_ahead(dtype):
    torch.manual_seed(0)
    model = hf.MixtralForCausalLM(hf.MixtralConfig(**ROUTED)).eval().to(dtype)
    require_causal(model, "mine")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_forward_pass_that_fails_is_told():
    model = build("llama")
    model.model.layers[0].self_attn.head_dim = 7
    model.model.layers[0].mlp.down_proj = torch.nn.Linear(3, 3)
    with pytest.raises(InputError, match="base 'mine' can't be run"):
        require_causal(model, "mine")


def test_logits_that_are_not_finite_are_told():
    model = build("llama")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(InputError, match="logits are not finite"):
        require_causal(model, "mine")

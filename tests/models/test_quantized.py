from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from tiny import SIZES, byte_tokenizer

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.quantized import shape_of, unpack_torchao, unpacked

QUERY = "model.layers.0.self_attn.q_proj.weight"


def saved(folder, width):
    """A tiny Llama that bitsandbytes has packed to 4 bits, and its weights before."""
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        **SIZES, hidden_size=width, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=128,
    )  # fmt: skip
    plain = hf.LlamaForCausalLM(config)
    plain.save_pretrained(folder / "plain")
    packed = hf.AutoModelForCausalLM.from_pretrained(
        folder / "plain",
        dtype=torch.float32,
        quantization_config=hf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    )
    packed.save_pretrained(folder / "packed")
    byte_tokenizer().save_pretrained(folder / "packed")
    return plain


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_have_the_shapes_and_nearly_the_values_of_their_matrices(tmp_path):
    plain = saved(tmp_path, 64)
    base = load_base_model(str(tmp_path / "packed"), device="cpu", dtype="float32")
    assert base.shapes == {name: tuple(p.shape) for name, p in plain.named_parameters()}
    weight, before = base.model.get_parameter(QUERY), plain.get_parameter(QUERY)
    assert weight.shape != before.shape
    assert shape_of(weight) == (64, 64)
    error = (unpacked(weight) - before).norm() / before.norm()
    assert 0.05 < error < 0.15  # of NF4 on normal weights; 0.09 by Dettmers et al.


@pytest.mark.filterwarnings("ignore")
def test_rows_that_a_cpu_would_misread(tmp_path):
    saved(tmp_path, 32)
    with pytest.raises(InputError, match="has 32 inputs, and bitsandbytes misreads"):
        load_base_model(str(tmp_path / "packed"), device="cpu", dtype="float32")


@pytest.mark.filterwarnings("ignore")
def test_plain_weights_under_a_quantized_configuration(tmp_path):
    saved(tmp_path, 64)
    weights = (tmp_path / "plain" / "model.safetensors").read_bytes()
    (tmp_path / "packed" / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"q_proj.weight is not quantized in the file; remove"):
        load_base_model(str(tmp_path / "packed"), device="cpu", dtype="float32")


def test_plain_weights_are_themselves():
    weight = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
    assert shape_of(weight) == (1, 2)
    assert unpacked(weight).dtype == torch.float32


class Halves(torch.Tensor):
    """A packed weight as torchao has them: a tensor of its own class that can be unpacked."""

    def dequantize(self):
        return self.as_subclass(torch.Tensor) / 2


Halves.__module__ = "torchao.quantization"


def packed_by_torchao(kind):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    weight = model[0].weight.detach().clone()
    model[0].weight = torch.nn.Parameter((2 * weight).as_subclass(Halves), requires_grad=False)
    settings = {"quant_method": "torchao", "quant_type": {"default": {"_type": kind}}}
    model.config = SimpleNamespace(quantization_config=settings)
    return model, weight


def test_weights_of_torchao_become_plain_ones_of_the_same_values():
    model, weight = packed_by_torchao("Int8WeightOnlyConfig")
    other = model[1].weight
    unpack_torchao(model, "x")
    assert type(model[0].weight) is torch.nn.Parameter
    assert torch.equal(model[0].weight, weight)
    assert model[1].weight is other
    assert not hasattr(model.config, "quantization_config")
    assert not model.is_quantized


def test_activations_that_torchao_quantizes_are_refused():
    model, _ = packed_by_torchao("Int8DynamicActivationInt8WeightConfig")
    with pytest.raises(InputError, match="base 'x': .* quantizes activations, too"):
        unpack_torchao(model, "x")

import pytest
import torch
import transformers as hf
from tiny import SIZES, byte_tokenizer

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.quantized import shape_of, unpacked

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

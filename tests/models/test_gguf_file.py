import struct

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from tiny import byte_tokenizer

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model

WIDE, ROWS = 32, 259
Q4_1 = gguf.GGMLQuantizationType.Q4_1  # the type of the built-in model's file
OURS = {
    "token_embd": "embed_tokens", "output_norm": "norm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


def tensors(blocks):
    """Weights of a tiny Llama by GGUF's names, in the order of transformers' rows."""
    sizes = {"token_embd": (ROWS, WIDE), "output_norm": (WIDE,), "output": (ROWS, WIDE)}
    for block in range(blocks):
        sizes |= {f"blk.{block}.attn_{part}": (WIDE, WIDE) for part in ("q", "k", "v", "output")}
        sizes |= {f"blk.{block}.ffn_{part}": (64, WIDE) for part in ("gate", "up")}
        sizes |= {f"blk.{block}.{part}_norm": (WIDE,) for part in ("attn", "ffn")}
        sizes[f"blk.{block}.ffn_down"] = (WIDE, 64)
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}


def write(file, *, blocks=2, drop="", damaged=False, quantized=False, **header):
    """Write the tiny Llama; `header` changes what the header says."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(header.get("block_count", blocks))
    writer.add_context_length(128)
    writer.add_embedding_length(header.get("embedding_length", WIDE))
    writer.add_feed_forward_length(64)
    writer.add_head_count(header.get("head_count", 4))
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(ROWS)
    vocabulary = byte_tokenizer().get_vocab()
    tokens = [*sorted(vocabulary, key=vocabulary.get)[:-1], "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * 256)
    writer.add_token_merges(["a b"])
    for name, tensor in tensors(blocks).items():
        if damaged and name == "output_norm":
            tensor[0] = np.nan
        if name.endswith(("attn_q", "attn_k")):  # rotary pairs: side by side, not half a head apart
            tensor = tensor.reshape(4, 2, 4, WIDE).swapaxes(1, 2).reshape(WIDE, WIDE)
        if quantized and tensor.ndim == 2:
            writer.add_tensor(f"{name}.weight", quantize(tensor, Q4_1), raw_dtype=Q4_1)
        elif name != drop:
            writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))


def opened(file):
    return load_base_model(str(file), device="cpu", dtype="float32")


def test_a_healthy_file_opens(tmp_path):
    assert opened(write(tmp_path / "tiny.gguf")).shapes["model.embed_tokens.weight"] == (ROWS, WIDE)


def test_quantized_weights_are_those_of_the_file(tmp_path):
    """By gguf's own arithmetic, rounded to bfloat16."""
    found = opened(write(tmp_path / "tiny.gguf", quantized=True)).model.state_dict()
    for name, tensor in tensors(blocks=2).items():
        *block, last = name.removeprefix("blk.").split(".")
        ours = ".".join(["layers", *block, OURS.get(last, "")] if block else [OURS.get(last, "")])
        place = "lm_head.weight" if name == "output" else f"model.{ours}.weight"
        if tensor.ndim == 2:
            tensor = dequantize(quantize(tensor, Q4_1), Q4_1)
        assert torch.equal(found.pop(place), torch.tensor(tensor).bfloat16().float()), place
    assert not found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": "blk.1.ffn_up"}, r"lack 1 tensors.*model\.layers\.1\.mlp\.up_proj\.weight"),
        ({"damaged": True}, r"NaN or infinite values in model\.norm\.weight"),
        ({"block_count": 10**6}, "block_count=1000000, but its tensors are of 2 blocks"),
        ({"block_count": 1}, "block_count=1, but its tensors are of 2 blocks"),
        ({"embedding_length": 10**8}, "embedding_length=100000000 is more than its bytes"),
        ({"head_count": 0}, "can't be read as GGUF: ZeroDivisionError"),
    ],
)
def test_files_that_are_damaged(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        opened(write(tmp_path / "tiny.gguf", **changes))
    assert not list((tmp_path / "cache" / "models").glob("gguf-*/"))


@pytest.mark.parametrize("seed", range(20))
def test_changed_bytes_end_in_a_line(tmp_path, seed):
    file = write(tmp_path / "tiny.gguf")
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(seed)
    at = int(rng.integers(0, 1200))
    values = (0, 2**63, 2**31, 10**6, 255)
    data[at : at + 8] = struct.pack("<Q", values[seed % len(values)])
    file.write_bytes(data if seed % 2 else data[: int(rng.integers(0, len(data)))])
    try:
        opened(file)
    except InputError as error:
        assert "\n" not in str(error)

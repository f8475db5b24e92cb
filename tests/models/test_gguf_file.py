import struct

import gguf
import numpy as np
import pytest
from tiny import byte_tokenizer

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model

WIDE, ROWS = 32, 259


def write(file, *, blocks=2, drop="", damaged=False, **header):
    """Write a tiny Llama; `header` changes what the header says."""
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
    sizes = {"token_embd": (ROWS, WIDE), "output_norm": (WIDE,), "output": (ROWS, WIDE)}
    for block in range(blocks):
        sizes |= {f"blk.{block}.attn_{part}": (WIDE, WIDE) for part in ("q", "k", "v", "output")}
        sizes |= {f"blk.{block}.ffn_{part}": (64, WIDE) for part in ("gate", "up")}
        sizes |= {f"blk.{block}.{part}_norm": (WIDE,) for part in ("attn", "ffn")}
        sizes[f"blk.{block}.ffn_down"] = (WIDE, 64)
    rng = np.random.default_rng(0)
    for name, shape in sizes.items():
        tensor = rng.standard_normal(shape).astype(np.float32)
        if damaged and name == "output_norm":
            tensor[0] = np.nan
        if name != drop:
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

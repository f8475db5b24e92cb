"""GGUF file: checked by its header, and converted to a model folder once."""

import io
import re
from contextlib import redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from peftlens.errors import InputError
from peftlens.io.files import new_folder
from peftlens.io.progress import say
from peftlens.models.loading import load_proven, quiet, reported_as

_BLOCK = re.compile(r"^blk\.(\d+)\.")
_WIDTHS = ("embedding_length", "feed_forward_length", "vocab_size", "rope.dimension_count",
           "attention.key_length")  # fmt: skip


def convert(file: Path, target: Path) -> Path:
    """Convert a GGUF file to a model folder with bfloat16 safetensors, once.

    Args:
        file: the GGUF file.
        target: folder to create; returned as it is if it exists.

    Raises:
        InputError: the file is damaged, or its weights are not all those of its architecture.
    """
    if target.exists():  # without the lock, which a read-only disk refuses
        return target
    with FileLock(f"{target}.lock"):
        if target.exists():
            return target
        _check_header(file)
        say(f"Converting {file.name} to safetensors, once (about 20 s for 135M parameters)")
        # transformers draws this bar regardless of its log level
        with quiet(), redirect_stderr(io.StringIO()), new_folder(target) as folder:
            with reported_as(f"{file.name} can't be read as GGUF"):
                tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = load_proven(
                AutoModelForCausalLM,
                file.parent,
                file.name,
                gguf_file=file.name,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
            )
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    return target


def _check_header(file: Path) -> None:
    """Refuse a damaged header, one with other blocks than the tensors', and endless widths.

    transformers builds what the header says before it looks at the tensors, and ignores tensors of
    further blocks.
    """
    what = f"{file.name} can't be read as GGUF"
    with reported_as(what):
        reader = GGUFReader(file)
        names = [str(tensor.name) for tensor in reader.tensors]
        numbers = {
            name.partition(".")[2]: value
            for name, field in reader.fields.items()
            if name.partition(".")[2] in ("block_count", *_WIDTHS)
            if isinstance(value := field.contents(), int)  # some have one number for each block
        }
    blocks = {int(match[1]) for name in names if (match := _BLOCK.search(name))}
    count, found = numbers.pop("block_count", None), max(blocks, default=-1) + 1
    if count is not None and found and not found <= count <= len(names):
        raise InputError(f"{what}: block_count={count}, but its tensors are of {found} blocks")
    for key, value in numbers.items():
        if value > file.stat().st_size:
            raise InputError(f"{what}: {key}={value} is more than its bytes; use another copy")

"""GGUF file: checked by its header, and converted to a model folder once."""

import io
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


def convert(file: Path, target: Path) -> Path:
    """Convert a GGUF file to a model folder with bfloat16 safetensors, once.

    Args:
        file: the GGUF file.
        target: folder to create; returned as it is if it exists.

    Raises:
        InputError: the file is damaged, or its weights are not all those of its architecture.
    """
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
    """Refuse a damaged header, and more blocks than tensors: building them could take forever."""
    with reported_as(f"{file.name} can't be read as GGUF"):
        reader = GGUFReader(file)
        tensors = len(reader.tensors)
        blocks = [
            int(field.contents())
            for name, field in reader.fields.items()
            if name.endswith(".block_count")
        ]
    for count in blocks:
        if count > tensors:
            raise InputError(
                f"{file.name} can't be read as GGUF: block_count={count} is more than its "
                f"{tensors} tensors; use another copy"
            )

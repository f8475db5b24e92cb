"""Folder of a model: checked before anything in it is opened.

config.json is somebody else's: it may be of any type, run code, or ask for a model without end.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from peftlens.errors import InputError

# Packages that transformers needs to read weights of a quantization method.
_READERS = {
    "aqlm": "aqlm",
    "auto-round": "auto_round",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "compressed-tensors": "compressed_tensors",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm_gpu",
    "gptq": "gptqmodel optimum",
    "higgs": "flute",
    "hqq": "hqq",
    "mxfp4": "kernels",
    "quanto": "optimum.quanto",
    "quark": "quark",
    "spqr": "spqr_quant",
    "torchao": "torchao",
    "vptq": "vptq",
}
# Keys for numbers of blocks, and for widths, in the configurations of transformers.
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers",
           "decoder_layers", "num_encoder_layers", "num_decoder_layers")  # fmt: skip
_WIDTHS = ("hidden_size", "intermediate_size", "moe_intermediate_size", "vocab_size",
           "num_attention_heads", "num_key_value_heads", "head_dim", "n_embd", "n_head", "n_heads",
           "num_heads", "n_inner", "d_model", "d_ff", "d_kv", "ffn_dim", "word_embed_proj_dim",
           "state_size", "num_experts", "num_local_experts", "n_routed_experts")  # fmt: skip
_LARGEST_JSON = 2**26  # bytes; the largest tokenizers take 35 MB


def check(folder: Path, trust_remote_code: bool) -> None:
    """Refuse a folder that is not a model, or that could run code or never end when opened.

    Raises:
        InputError: the folder is refused; the message names the file and the remedy.
    """
    file = folder / "config.json"
    if not file.exists():
        raise InputError(f"{folder} is not a model folder: it has no config.json")
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder} holds an adapter next to a model; move adapter_config.json away"
        )
    _require_regular(folder)
    config = read_json(file)
    for key in ("auto_map", "_attn_implementation_internal"):
        if key in config and not trust_remote_code:
            raise InputError(f"{file} has {key}, which runs code; allow it by --trust-remote-code")
    weights = _files(folder, "*.safetensors")
    if not weights:
        raise InputError(
            f"{folder} has no .safetensors weights; other formats can run code when opened: "
            "convert it with model.save_pretrained(folder)"
        )
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{file}: model_type={config.get('model_type')!r} must be a text")
    _require_reader(file, config)
    tensors = sum(map(_tensors, weights))
    _require_sizes(file, config, tensors, sum(one.stat().st_size for one in weights))


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern; those with a dot in front are a file manager's."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _require_regular(folder: Path) -> None:
    """Refuse devices, pipes and folders in place of files: reading them may never end."""
    for pattern in ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"):
        for path in _files(folder, pattern):
            if not path.is_file():
                raise InputError(f"{path} is not a regular file; put the file itself there")
            if path.suffix == ".json" and path.stat().st_size > _LARGEST_JSON:
                raise InputError(
                    f"{path} has {path.stat().st_size:,} bytes; at most {_LARGEST_JSON:,} are read"
                )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is damaged, nested without end, or holds something else.
    """
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
    except RecursionError as error:
        raise InputError(f"{file} is damaged: it is nested too deeply") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is damaged: it holds no object in braces")
    return content


def _require_reader(file: Path, config: dict[str, Any]) -> None:
    """Refuse quantized weights whose package is not installed, before anything is loaded."""
    quantization = config.get("quantization_config")
    if quantization is None:
        return
    if not isinstance(quantization, dict):
        raise InputError(f"{file}: quantization_config={quantization!r} must be an object")
    method = quantization.get("quant_method", "bitsandbytes")
    packages = _READERS.get(method, "").split() if isinstance(method, str) else []
    for package in packages:
        if find_spec(package.split(".")[0]) is None:
            name = package.replace("_", "-")
            raise InputError(
                f"{file.parent} is quantized by {method}, and the package {name} that reads it is "
                f"not installed: python -m pip install {name}"
            )


def _tensors(file: Path) -> int:
    """Count the tensors of a weights file, by its header."""
    try:
        with safe_open(file, framework="pt") as opened:
            return len(opened.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} can't be loaded: {error}; use another copy") from error


def _require_sizes(where: Path, config: dict[str, Any], tensors: int, size: int) -> None:
    """Refuse blocks and widths that the weights can't fill: building them could take forever.

    Args:
        where: file of the configuration.
        config: the configuration, or a part of it.
        tensors: number of tensors in the weights, each of which belongs to one block.
        size: bytes of the weights.
    """
    for key, value in config.items():
        if isinstance(value, dict):
            _require_sizes(where, value, tensors, size)
        elif key in DEPTHS and _is_above(value, tensors):
            raise InputError(
                f"{where}: {key}={value:g} is more than the weights' {tensors} tensors; correct it"
            )
        elif key in _WIDTHS and _is_above(value, size):
            raise InputError(
                f"{where}: {key}={value:g} is more than the weights' {size:,} bytes; correct it"
            )


def _is_above(value: object, limit: int) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > limit

"""Other formats: adapters of programs other than peft, recognized so that an error can name them.

None of these files is opened as weights; pickled ones could run code.
"""

import json
import shlex
from pathlib import Path
from typing import Any

WEIGHTS = "adapter_model.safetensors"
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Files that transformers' Trainer, accelerate and DeepSpeed write beside the weights.
_TRAINING_STATE = ("optimizer", "scheduler", "training_args", "rng_state", "random_states",
                   "scaler", "global_step", "trainer_state", "sampler", "zero_pp_rank",
                   "bf16_zero_pp_rank", "mp_rank", "latest")  # fmt: skip
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format
_REMEDY = "convert it to peft's format with that program, or save it by peft"


def other_format(folder: Path, config: dict[str, Any]) -> str | None:
    """Recognize an adapter of another program by its files, or by the keys of its configuration.

    Args:
        folder: folder of the adapter.
        config: content of its adapter_config.json, empty if there is none.

    Returns:
        The name of the format with a remedy; None if nothing is recognized.
    """
    for recognized, name in (
        (_is_mlx(folder, config), "mlx-lm (adapters.safetensors)"),
        (_is_adapter_hub(folder, config), "AdapterHub's adapters (a head or an adapter of it)"),
        ((folder / "pytorch_lora_weights.safetensors").is_file(), "diffusers, for images"),
        (any(folder.glob("*.lora")) or (folder / "lit_config.json").is_file(), "LitGPT"),
        (any(folder.glob("*.gguf")), "llama.cpp (GGUF)"),
        (any(folder.glob("*.nemo")), "NeMo"),
        (_is_kohya(folder), "Kohya's sd-scripts, for images"),
    ):
        if recognized:
            return f"it is of {name}; {_REMEDY}"
    return None


def _is_mlx(folder: Path, config: dict[str, Any]) -> bool:
    keys = {"fine_tune_type", "lora_parameters", "lora_layers"} & config.keys()
    files = ("adapters.safetensors", "adapters.npz")
    return bool(keys) or any((folder / name).is_file() for name in files)


def _is_adapter_hub(folder: Path, config: dict[str, Any]) -> bool:
    files = ("pytorch_adapter.bin", "pytorch_model_head.bin", "head_config.json")
    keys = {"model_class", "model_type", "hidden_size"}
    return any((folder / name).is_file() for name in files) or (
        isinstance(config.get("config"), (dict, str)) and bool(keys & config.keys())
    )


def _is_kohya(folder: Path) -> bool:
    return any(
        name.startswith(("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "ss_"))
        for file in sorted(folder.glob("*.safetensors"))[:4]
        for name in _names(file)
    )


def _names(file: Path) -> list[str]:
    """Return the names of a safetensors file's tensors and metadata; none if it is damaged."""
    if not file.is_file():
        return []
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        text = opened.read(size) if size < min(_HEADER_LIMIT, file.stat().st_size) else b""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(header, dict):
        return []
    metadata = header.pop("__metadata__", None)
    return [*header, *(metadata if isinstance(metadata, dict) else ())]


def without_weights(folder: Path, config: dict[str, Any]) -> str:
    """Describe the missing weights and the remedy; other formats are never opened."""
    if other := other_format(folder, config):
        return f"{folder} has no {WEIGHTS}: {other}"
    others = sorted(
        (
            file.name
            for file in folder.iterdir()
            if file.suffix in _PICKLED and not file.name.startswith(_TRAINING_STATE)
        ),
        key=lambda name: (name != "adapter_model.bin", "adapter" not in name, name),
    )
    if not others:
        return f"{folder} has no {WEIGHTS}; get the file, or save the adapter again"
    return (
        f"{folder / others[0]} was not opened, because that can run code; if you trust it, convert "
        f"it: {_conversion(folder / others[0], folder / WEIGHTS)}"
    )


def _conversion(pickled: Path, weights: Path) -> str:
    """Return the command that converts a file; clones, because tensors may share memory."""
    program = (
        "import torch, safetensors.torch as s; "
        f"t = torch.load({str(pickled)!r}, map_location='cpu', weights_only=True); "
        "s.save_file({k: v.clone().contiguous() for k, v in t.items()}, "
        f"{str(weights)!r}, metadata={{'format': 'pt'}})"
    )
    return f"python -c {shlex.quote(program)}"

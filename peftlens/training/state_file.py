"""File of a training state: nested values in JSON, and the tensors among them in safetensors.

A tensor is {"tensor": its name, "device": its device} in the JSON, a tuple {"tuple": [...]}, and a
dictionary, whose keys may be numbers, {"items": [[key, value], ...]}. Nothing is pickled.
"""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from peftlens.adapters.adapter_file import write_weights
from peftlens.errors import InputError

NAME = "training_state"


def write_state(state: Any, folder: Path) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers, texts, booleans and None.

    Raises:
        InputError: a value has another type.
        OSError: the disk is full or not writable.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_encode(state, NAME, tensors))
    (folder / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
    write_weights(_apart(tensors), folder / f"{NAME}.safetensors", {"format": "pt"})


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy those that share memory with others, which safetensors refuses."""
    places: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return found


def _encode(value: Any, where: str, tensors: dict[str, torch.Tensor]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case torch.Tensor():
            tensors[where] = value.detach().cpu().contiguous()
            return {"tensor": where, "device": str(value.device)}
        case tuple():
            return {"tuple": _encode([*value], where, tensors)}
        case list():
            return [_encode(one, f"{where}.{at}", tensors) for at, one in enumerate(value)]
        case dict():
            pairs = [[key, _encode(one, f"{where}.{key}", tensors)] for key, one in value.items()]
            return {"items": pairs}
    raise InputError(
        f"{where} is a {type(value).__name__}, which can't be saved, so the run can't be paused; "
        "train it to its end"
    )


def read_state(folder: Path) -> Any:
    """Read what `write_state` wrote, with each tensor on the device from which it came."""
    tensors = safetensors.torch.load_file(folder / f"{NAME}.safetensors")
    return _decode(json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8")), tensors)


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    match value:
        case {"tensor": name, "device": device}:
            return tensors[name].to(device)
        case {"tuple": values}:
            return tuple(_decode(values, tensors))
        case {"items": pairs}:
            return {key: _decode(one, tensors) for key, one in pairs}
        case list():
            return [_decode(one, tensors) for one in value]
    return value

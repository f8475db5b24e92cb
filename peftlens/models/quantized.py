"""Quantized base models: shapes and values of packed weights, and their checks after loading."""

import importlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from peftlens.errors import InputError

# Number of weights that share a scale. On a CPU, bitsandbytes 0.50 unpacks rows of other lengths
# with scales of other rows: a relative error of 0.24 instead of 0.09 at length 32.
BLOCK = 64


def shape_of(parameter: torch.Tensor) -> tuple[int, ...]:
    """Return a parameter's shape; for a packed 4-bit weight, that of the matrix it stands for."""
    state: Any = getattr(parameter, "quant_state", None)
    return tuple(parameter.shape if state is None else state.shape)


def unpacked(parameter: torch.Tensor) -> torch.Tensor:
    """Return a weight's values in float32; a packed 4-bit weight is unpacked."""
    state: Any = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.detach().float()
    functional = importlib.import_module("bitsandbytes").functional
    return functional.dequantize_4bit(parameter.data, state).float()


def require_plain(names_and_weights: Iterable[tuple[str, torch.Tensor]], purpose: str) -> None:
    """Refuse packed weights where the values themselves are needed.

    Args:
        names_and_weights: parameters by name.
        purpose: what can't be done with packed weights, for the message.

    Raises:
        InputError: a weight is packed.
    """
    for name, weight in names_and_weights:
        if not weight.is_floating_point():
            raise InputError(
                f"{name} is quantized, so {purpose}; give the model before quantization, or adapt "
                "this one by lora"
            )


def unpack_torchao(model: Any, what: str) -> None:
    """Replace weights that torchao has packed by their values, as plain weights of the same dtype.

    Its tensors have no gradient and lack operations that methods and probes need. The values are
    those of the packed weights, so outputs are the same; memory is not saved.

    Args:
        model: model as transformers loaded it; its configuration then names no quantization.
        what: name of the model, for messages.

    Raises:
        InputError: activations are quantized, too, which plain weights can't do.
    """
    parameters = [*model.named_parameters()]
    packed = {n: p for n, p in parameters if type(p).__module__.startswith("torchao.")}
    if not packed:
        return
    settings = model.config.quantization_config
    if "Activation" in str(settings.to_dict() if hasattr(settings, "to_dict") else settings):
        raise InputError(
            f"base {what!r}: its quantization_config of torchao quantizes activations, too, which "
            "can't be computed here; quantize weights only, or give the model before quantization"
        )
    for name, weight in packed.items():
        layer, _, last = name.rpartition(".")
        plain = weight.detach().dequantize().to(weight.dtype)
        setattr(model.get_submodule(layer), last, nn.Parameter(plain, requires_grad=False))
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False


def prepare_4bit(model: nn.Module, what: str) -> None:
    """Check the 4-bit layers of a loaded model, and keep bitsandbytes from repacking them.

    With AVX512-BF16, bitsandbytes repacks weights in evaluation: it rounds the scales and has no
    gradient.

    Args:
        model: model as transformers loaded it.
        what: name of the model, for messages.

    Raises:
        InputError: a weight is not packed though config.json says so, or would be misread here.
    """
    for name, module in model.named_modules():
        if type(module).__name__ != "Linear4bit":
            continue
        layer: Any = module
        if getattr(layer.weight, "quant_state", None) is None:
            raise InputError(
                f"base {what!r}: config.json has quantization_config, but {name}.weight is not "
                "quantized in the file; remove quantization_config"
            )
        if layer.weight.device.type == "cpu" and layer.in_features % BLOCK:
            raise InputError(
                f"base {what!r}: {name} has {layer.in_features} inputs, and bitsandbytes misreads "
                f"4-bit weights on a CPU unless they are a multiple of {BLOCK}; use a GPU"
            )
        layer.support_avx512bf16_for_cpu = False

"""Weight updates in training: by how much each weight of the base is changed, differentiably.

Of weights that are trained themselves the update is W - W₀; of plain LoRA layers, whatever their
start, it is W_frozen + s B A - W₀, the change of the weight with which the model computes. Trained
tensors of all other kinds (soft prompts, lengths of DoRA, factors of LoHa) have no such form here:
theirs is the distance from their own start.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import peft
import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from peftlens.adapters.expert_factors import plain_name
from peftlens.layers.peft_wrapper import peft_layers


@dataclass(frozen=True)
class WeightUpdate:
    """Update of one weight, or of one trained tensor that belongs to no weight.

    Attributes:
        name: name of the weight in the base, or of the trained tensor.
        weight: parameter in the model by whose gradient the base depends on the weight; None if
            the tensor is none of the base's weights.
        value: computes the update in float32, of the shape of the weight.
    """

    name: str
    weight: nn.Parameter | None
    value: Callable[[], torch.Tensor]


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return references to a base's weights by every name, before a method is attached."""
    return {name: p.data for name, p in model.named_parameters(remove_duplicate=False)}


def weight_updates(
    model: nn.Module, base: nn.Module, originals: Mapping[str, torch.Tensor]
) -> list[WeightUpdate]:
    """List the updates of a model whose method was just attached.

    Args:
        model: model to train.
        base: base inside of it, changed by the method.
        originals: result of `weights_of` before the method was attached.
    """
    adapted = peft_layers(model, LoraLinear) if isinstance(model, peft.PeftModel) else ()
    layers = [(name, layer) for name, layer in adapted if _is_plain(layer)]
    found = [_of_lora(f"{plain_name(name)}.weight", layer, originals) for name, layer in layers]
    in_factors = {
        id(parameter)
        for _, layer in layers
        for factor in (layer.lora_A, layer.lora_B)
        for parameter in factor.parameters()
    }
    named = dict(base.named_parameters())
    names = {id(parameter): name for name, parameter in reversed(named.items())}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in in_factors:
            own = plain_name(names.get(id(parameter), name))
            found.append(_of_parameter(own, parameter, originals.get(own)))
    return found


def _is_plain(layer: Any) -> bool:
    """Whether the layer's weight is W + s B A, with W a matrix of numbers."""
    adapted = "default" in layer.lora_A and "default" not in layer.lora_variant
    return adapted and layer.get_base_layer().weight.is_floating_point()


def _of_lora(name: str, layer: Any, originals: Mapping[str, torch.Tensor]) -> WeightUpdate:
    frozen = layer.get_base_layer().weight
    shift = None
    if frozen.data_ptr() != originals[name].data_ptr():  # PiSSA takes its start out of the weight
        shift = frozen.detach().float() - originals[name].float()
    return WeightUpdate(name, frozen, partial(_lora_value, layer, shift))


def _lora_value(layer: Any, shift: torch.Tensor | None) -> torch.Tensor:
    update = layer.get_delta_weight("default").float()  # (d_out, d_in), or as GPT-2 stores it
    return update if shift is None else update + shift


def _of_parameter(
    name: str, parameter: nn.Parameter, original: torch.Tensor | None
) -> WeightUpdate:
    if original is None or original.shape != parameter.shape:
        start = parameter.detach().clone()
        return WeightUpdate(name, None, lambda: parameter.float() - start.float())
    return WeightUpdate(name, parameter, lambda: parameter.float() - original.float())


def trained_outside(updates: list[WeightUpdate]) -> Iterator[str]:
    """Yield the names of trained tensors that are none of the base's weights."""
    yield from (update.name for update in updates if update.weight is None)

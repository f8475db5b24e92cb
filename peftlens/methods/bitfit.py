"""BitFit: train only the biases.

Source: Ben Zaken, Ravfogel & Goldberg 2021, arXiv:2106.10199, section 3. Models without biases
(Llama and its like) can be given zero ones.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.models.architecture import Shapes, linear_layers, thaw
from peftlens.models.architecture import shapes as shapes_of

FAMILY = "selective"
EXPOSES = frozenset({"delta_weight"})
MERGES_IF = "the base has biases there"
LEARNING_RATE = 5e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        add_biases: give zero biases to the blocks' linear layers that have none.
    """

    add_biases: bool = False


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Replace the biases by trainable copies; the logits at the start equal the base model's.

    Raises:
        InputError: the model has no biases, and none are to be added.
    """
    shapes = shapes_of(model)
    wanted = _biases(config, shapes)
    thaw(model, wanted)
    for name in wanted.keys() - shapes.keys():
        layer = model.get_submodule(name.removesuffix(".bias"))
        weight = model.get_parameter(name.removesuffix("bias") + "weight")
        layer.register_parameter("bias", nn.Parameter(torch.zeros_like(weight[:, 0])))
    return model


def _biases(config: Config, shapes: Shapes) -> dict[str, int]:
    """Names and sizes of the biases: those that there are, then those to be added."""
    found = {name: shape[0] for name, shape in shapes.items() if name.endswith(".bias")}
    if config.add_biases:
        for name, (d_out, _) in linear_layers(shapes, ("all_linear",)).items():
            found.setdefault(f"{name}.bias", d_out)
    if not found:
        raise InputError(
            "this model has no biases to train; add_biases=true gives its linear layers zero ones"
        )
    return found


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """The size of every bias.

    Raises:
        InputError: the model has no biases, and none are to be added.
    """
    return sum(_biases(config, shapes).values())

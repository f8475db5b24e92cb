"""BitFit: train only the biases.

Source: Ben Zaken, Ravfogel & Goldberg 2021, arXiv:2106.10199, section 3. Models without biases
(such as Llama) can be given biases of zero. Learning rate: the default of the authors' script for
GLUE (benzakenelad/BitFit).
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.architecture import thaw
from peftlens.models.target_modules import Shapes, block_layers

FAMILY = "selective"
FORMULA = "y = W x + b',  W frozen"
EXPOSES = frozenset({"delta_weight"})
MERGES_IF = "the base has biases there"
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        add_biases: whether linear layers of the blocks without a bias get one of zeros.
    """

    add_biases: bool = False


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Replace the biases by trainable copies; the logits at the start equal the base model's.

    Raises:
        InputError: the model has no biases, and none are to be added.
    """
    shapes = shapes_of(model)
    biases = _biases(config, shapes)
    thaw(model, biases)
    for name in biases.keys() - shapes.keys():
        layer = model.get_submodule(name.removesuffix(".bias"))
        weight = model.get_parameter(name.removesuffix("bias") + "weight")
        layer.register_parameter("bias", nn.Parameter(torch.zeros_like(weight[:, 0])))
    return model


def _biases(config: Config, shapes: Shapes) -> dict[str, int]:
    """Names and sizes of the biases: the existing ones, then those to add."""
    sizes = {name: shape[0] for name, shape in shapes.items() if name.endswith(".bias")}
    if config.add_biases:
        for name, (d_out, _) in block_layers(shapes).items():
            sizes.setdefault(f"{name}.bias", d_out)
    if not sizes:
        raise InputError(
            "this model has no biases to train; add_biases=true gives its linear layers biases of 0"
        )
    return sizes


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Sum of the sizes of all biases.

    Raises:
        InputError: the model has no biases, and none are to be added.
    """
    return sum(_biases(config, shapes).values())

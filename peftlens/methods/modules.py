"""Selected layers: only the chosen linear layers are trained, in full.

Source: Touvron et al. 2022, arXiv:2203.09795 (attention layers alone) for vision; Ben Zaken et al.
2021, arXiv:2106.10199, section 2 for the conditions of a fair comparison by component.
"""

from dataclasses import dataclass
from math import prod

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.architecture import thaw
from peftlens.models.target_modules import Shapes, target_weights

FAMILY = "selective"
FORMULA = "W' = W + ΔW in the chosen layers"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    target_modules: tuple[str, ...] = ("attention",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Replace the layers' weights and biases by trainable copies.

    The logits at the start equal the base model's.

    Raises:
        InputError: a target matches nothing.
    """
    thaw(model, _parameters(config, shapes_of(model)))
    return model


def _parameters(config: Config, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    weights = target_weights(shapes, config.target_modules)
    biases = {name.removesuffix(".weight") + end for name in weights for end in (".bias", "_bias")}
    return {name: shape for name, shape in shapes.items() if name in weights or name in biases}


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of weights and biases of the chosen layers.

    Raises:
        InputError: a target matches nothing.
    """
    return sum(map(prod, _parameters(config, shapes).values()))

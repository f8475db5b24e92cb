"""(IA)³: rescale keys, values and the inner activations of the feed-forward layers.

Source: Liu et al. 2022, arXiv:2205.05638, section 3.3. Layers: peft.IA3Config. Where one layer
projects to queries, keys and values together (GPT-2, GPT-NeoX), the queries are rescaled too.
Learning rate: the best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8
examples); the authors use 3e-3 (r-three/t-few).
"""

from dataclasses import dataclass

import peft
from peft.tuners.ia3 import IA3Layer
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.layers.batched_adapters import RescaledActivations
from peftlens.layers.peft_wrapper import peft_layers, wrap
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes, linear_layers, short_names

FAMILY = "additive adapter"
FORMULA = "y = l ⊙ (W x);  in the feed-forward layer W (l ⊙ x)"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
            Feed-forward layers among them are rescaled at their inputs, others at their outputs.
    """

    target_modules: tuple[str, ...] = ("key_value", "feed_forward_output")


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and rescale each target layer, by ones at first.

    The logits at the start equal the base model's.
    """
    shapes = shapes_of(model)
    inner = _inner(config, shapes)
    return wrap(
        model,
        peft.IA3Config,
        config.target_modules,
        feedforward_modules=short_names(inner, shapes) if inner else [],
    )


def _inner(config: Config, shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Return the feed-forward layers among the targets."""
    targets = linear_layers(shapes, config.target_modules)
    try:
        feed_forward = linear_layers(shapes, ("feed_forward",))
    except InputError:  # none of a known name, so none among the targets
        return {}
    return {name: shape for name, shape in targets.items() if name in feed_forward}


def batchable_fields(config: Config) -> tuple[str, ...]:  # noqa: ARG001
    """Return the fields in which runs of one pass may differ: none."""
    return ()


def trainable_parts(model: nn.Module) -> dict[str, RescaledActivations]:
    """Return the vector of each rescaled layer, by the module's dotted name."""
    return {
        name: RescaledActivations(layer.ia3_l["default"], layer.is_feedforward)
        for name, layer in peft_layers(model, IA3Layer)
    }


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_out for each target layer; d_in for those of the feed-forward modules.

    Raises:
        InputError: a target matches nothing.
    """
    inner = _inner(config, shapes)
    targets = linear_layers(shapes, config.target_modules)
    return sum(d_in if name in inner else d_out for name, (d_out, d_in) in targets.items())

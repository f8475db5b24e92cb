"""LayerNorm tuning: train only the gains (and biases, if any) of the normalization layers.

Source: Zhao et al. 2023, arXiv:2312.11420, section 3. Layers: peft.LNTuningConfig. Learning rate:
the best of four on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples).
"""

from dataclasses import dataclass

import peft
from peft.tuners.ln_tuning.layer import LNTuningLayer
from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.batched_adapters import NormScale
from peftlens.layers.peft_wrapper import peft_layers, wrap_whole
from peftlens.models.architecture import norms
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "y = g' ⊙ normalize(x) + b'"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """No hyperparameters: every normalization layer is trained."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:  # noqa: ARG001
    """Wrap each normalization with a trainable copy; logits at the start equal the base model's.

    The copies keep the base's dtype: in float32 their output would not fit the next layer.

    Raises:
        InputError: the model has no normalization layer of a known name.
    """
    modules = dict.fromkeys(name.rpartition(".")[0] for name in norms(shapes_of(model)))
    return wrap_whole(
        model, peft.LNTuningConfig, full_precision=False, target_modules=list(modules)
    )


def batchable_fields(config: Config) -> tuple[str, ...]:  # noqa: ARG001
    """Return the fields in which runs of one pass may differ: none."""
    return ()


def trainable_parts(model: nn.Module) -> dict[str, NormScale]:
    """Return the trained copy of each normalization, by the module's dotted name."""
    return {
        name: NormScale(layer.ln_tuning_layers["default"])
        for name, layer in peft_layers(model, LNTuningLayer)
    }


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """d for each gain and each bias of a normalization.

    Raises:
        InputError: the model has no normalization layer of a known name.
    """
    return sum(shape[0] for shape in norms(shapes).values())

"""Embedding table: the only trained part; all layers above it stay frozen.

Source: Artetxe, Ruder & Yogatama 2020, arXiv:1910.11856, section 2 (new embeddings under a frozen
body). Where the output head shares the table, it changes with it.
"""

from dataclasses import dataclass
from math import prod

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import embedding, embedding_weight, thaw
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "E' = E + ΔE"
EXPOSES = frozenset({"delta_weight", "token_vectors"})
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """No hyperparameters."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:  # noqa: ARG001
    """Replace the table by a trainable copy; the logits at the start equal the base model's."""
    table = embedding_weight(model)
    thaw(model, {name for name, p in model.named_parameters() if p is table})
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """V d, the size of the table.

    Raises:
        InputError: the table has an unknown name.
    """
    return prod(embedding(shapes))

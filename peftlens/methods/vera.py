"""VeRA: one pair of frozen random matrices for all layers, and two trained vectors for each.

W' = W + diag(b) B diag(d) A. Source: Kopiczko, Blankevoort & Asano 2023, arXiv:2310.11454, section
3.1. Layers: peft.VeraConfig. Learning rate: the best of five on bbc_topic and word_sentiment
(SmolLM2-135M, 60 steps of 8 examples).
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = W + diag(b) B diag(d) A,  A and B frozen and shared"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of the shared B and A.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 256
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and scale shared random matrices for each target layer; b is 0 first.

    The logits at the start equal the base model's.
    """
    return wrap(
        model,
        peft.VeraConfig,
        config.target_modules,
        r=config.rank,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d_out + r for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require("rank", config.rank, 1)
    return sum(
        d_out + config.rank for d_out, _ in linear_layers(shapes, config.target_modules).values()
    )

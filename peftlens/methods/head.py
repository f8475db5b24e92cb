"""Output head: the only trained part, the linear probe.

Source: Kumar et al. 2022, arXiv:2202.10054, section 3 (linear probing against fine-tuning). Where
the head shares the embedding table, it gets a separate copy, so that the input stays fixed. Where
the task has a head of its own, that head is trained.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import embedding, freeze
from peftlens.models.heads import head_modules
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "y = W' h,  all below W' frozen"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-4
TRAINS_HEAD = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """No hyperparameters."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:  # noqa: ARG001
    """Replace the head's weight by a trainable copy; logits at the start equal the base model's."""
    freeze(model)
    if head_modules(model):
        return model
    head: Any = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """V d, whether or not the head shares the embedding table; its bias stays.

    Raises:
        InputError: neither head nor embedding table has a known name.
    """
    untied = ("lm_head.weight", "embed_out.weight")
    shape = next((shape for name, shape in shapes.items() if name in untied), None)
    return prod(shape or embedding(shapes))

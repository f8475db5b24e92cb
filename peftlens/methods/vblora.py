"""VB-LoRA: low-rank factors composed of vectors from one small shared bank.

Each piece of A and B is a mixture of the k vectors of the bank with the largest weights. Source:
Li, Han & Ji 2024, arXiv:2405.15179, section 3. Layers: peft.VBLoRAConfig. It starts with a small
random update.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require, require_divisor
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + B A,  each piece of B and A a mixture of k vectors of one bank"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: inner size r of B and A.
        num_vectors: h, the size of the bank.
        vector_length: l; must divide both sides of every adapted matrix.
        chosen_vectors: k, the number of vectors in the mixture of a piece.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 4
    num_vectors: int = 256
    vector_length: int = 64
    chosen_vectors: int = 2
    target_modules: tuple[str, ...] = ("query_value",)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and give each target layer factors from a shared bank.

    The logits at the start differ slightly from the base model's.
    """
    return wrap(
        model,
        peft.VBLoRAConfig,
        config.target_modules,
        r=config.rank,
        num_vectors=config.num_vectors,
        vector_length=config.vector_length,
        topk=config.chosen_vectors,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """h l for the bank, and r h (d_out + d_in) / l for each adapted matrix.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    h, length, layers = (
        config.num_vectors,
        config.vector_length,
        adapted(config.rank, config.target_modules, shapes),
    )
    require("num_vectors", h, 1)
    require("chosen_vectors", config.chosen_vectors, 1, h, "the size of the bank")
    require("vector_length", length, 1)
    sides = (side for shape in layers for side in shape)
    require_divisor("vector_length", length, sides, "a side of an adapted matrix")
    return h * length + sum(config.rank * h * (sum(shape) // length) for shape in layers)

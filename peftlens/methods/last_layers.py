"""Last layers: only the top k transformer blocks are trained.

The final normalization and the output head stay frozen: where embeddings are tied, training the
head would train the bottom of the model. Source: Lee, Tang & Lin 2019, arXiv:1911.03090, who find
that a quarter of the layers reaches 90 % of full fine-tuning's quality. Learning rate: the best of
four on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples).
"""

from dataclasses import dataclass
from math import prod

from torch import nn
from transformers import PreTrainedModel

from peftlens.models.architecture import last_blocks, thaw
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "θ' = θ + Δθ in the top k blocks"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        blocks: k, the number of blocks, counted from the top; in an encoder-decoder, the decoder's.
    """

    blocks: int = 2


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Replace the top blocks' weights by trainable copies; logits at the start equal the base's.

    Raises:
        InputError: the model has fewer blocks.
    """
    thaw(model, last_blocks(shapes_of(model), config.blocks))
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """Number of parameters of the top blocks.

    Raises:
        InputError: the model has fewer blocks.
    """
    return sum(prod(shape) for shape in last_blocks(shapes, config.blocks).values())

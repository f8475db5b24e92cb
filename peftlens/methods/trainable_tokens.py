"""Trainable tokens: train the embeddings of a few tokens.

Layers: peft.TrainableTokensConfig. Source: its documentation in Hugging Face peft, for tokens added
to a vocabulary. Here they are existing tokens: those of the task's labels, or of a text of the
user's. Where the output head shares the embedding table, its rows change too.
"""

from dataclasses import dataclass, replace

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError
from peftlens.layers.peft_wrapper import wrap_whole
from peftlens.models.architecture import embedding
from peftlens.models.target_modules import Shapes

FAMILY = "selective"
FORMULA = "E'[t] = E[t] + ΔE[t] for a few tokens t"
EXPOSES = frozenset({"delta_weight", "token_vectors"})
NO_HEAD = "peft saves no head along with it; use embeddings, or another method"
LEARNING_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        text: text whose tokens are trained; by default the task's labels.
        token_ids: ids of the trained tokens, filled in from the text or the labels.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Turn the text or the labels into token ids.

    Raises:
        InputError: there is no text, and the task has no labels.
    """
    labels = context.task.labels
    groups = (
        [context.token_ids(config.text)] if config.text else map(context.continuation_ids, labels)
    )
    ids = sorted({token for group in groups for token in group})
    if not ids:
        raise InputError(f"trainable_tokens needs a text: {context.task.name!r} has no labels")
    return replace(config, token_ids=tuple(ids))


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and make the tokens' embeddings trainable.

    The logits at the start equal the base model's.
    """
    return wrap_whole(model, peft.TrainableTokensConfig, token_indices=list(config.token_ids))


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d for each token.

    Raises:
        InputError: there are no tokens yet, or one is not in the vocabulary.
    """
    vocabulary, width = embedding(shapes)
    if not config.token_ids:
        raise InputError("trainable_tokens' size is defined only once its tokens are filled in")
    if max(config.token_ids) >= vocabulary:
        raise InputError(f"token_ids: {max(config.token_ids)} is not below {vocabulary}")
    return len(config.token_ids) * width

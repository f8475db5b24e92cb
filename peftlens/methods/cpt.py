"""CPT: a soft prompt that starts as training examples and stays within a small ball around them.

Context-aware prompt tuning. Source: Blau et al. 2024, arXiv:2410.17222, section 4. Layers:
peft.CPTConfig, which leaves the answers in the prompt as they are and keeps each other token within
a ball around its embedding. The paper's loss on the answers in the prompt is not used.
"""

import random
from dataclasses import dataclass, replace

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError, require
from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.models.architecture import embedding, embedding_weight, has_encoder
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "y = f([E + Δ; embed(x)]),  ‖Δᵢ‖ ≤ ε"
EXPOSES = frozenset({"soft_prompt", "token_vectors"})
UNMERGEABLE = "it changes the input and no weight"
NO_HEAD = "peft supports it for models that predict text only; use prompt_tuning"
LEARNING_RATE = 1e-3

_INPUT, _ANSWER = 2, 4  # peft's marks; those of the i-th example are 4 i higher


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        shots: number of training examples in the prompt, drawn by the run's seed.
        epsilon: radius of the ball over √(d / 2048), in units of the embedding.
        separator: text between examples, and before the input.
        token_ids: token ids of the prompt, filled in from the examples.
        token_types: peft's mark of each token (input or answer), filled in from the examples.
    """

    shots: int = 4
    epsilon: float = 0.1
    separator: str = "\n\n"
    token_ids: tuple[int, ...] = ()
    token_types: tuple[int, ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Draw the examples and turn them into token ids.

    Raises:
        InputError: the task has no questions with answers, or fewer for training.
    """
    pool = context.task.splits["train"]
    if context.task.kind == "language_modeling" or context.task.has_chats:
        raise InputError(
            f"cpt needs questions with answers; {context.task.name!r} has texts or conversations"
        )
    require("shots", config.shots, 1, len(pool), "the number of training examples")
    ids: list[int] = []
    types: list[int] = []
    for index, one in enumerate(random.Random(context.seed).sample(pool, config.shots)):
        parts = (one.prompt, one.answers[one.correct], config.separator)
        for text, kind in zip(parts, (_INPUT, _ANSWER, _INPUT), strict=True):
            tokens = context.continuation_ids(text) if ids else context.token_ids(text)
            ids += tokens
            types += [4 * index + kind] * len(tokens)
    # peft expects the highest mark to be an answer's; the last separator comes after it
    return replace(config, token_ids=tuple(ids), token_types=tuple(types))


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the examples' embeddings as a trainable prompt.

    The logits at the start are those of the few-shot prompt; the tokenizer's BOS token, if any,
    comes after the examples.

    Raises:
        InputError: the embeddings are narrower than the blocks, whose width peft's CPT takes.
    """
    width, of_blocks = embedding_weight(model).shape[1], model.config.hidden_size
    if width != of_blocks:
        raise InputError(
            f"cpt: peft makes its vectors as wide as the blocks, {of_blocks}, and this model's "
            f"embeddings have {width} entries; use prompt_tuning"
        )
    return wrap_prompt(
        model,
        peft.CPTConfig,
        len(config.token_ids),
        cpt_token_ids=list(config.token_ids),
        cpt_mask=[1] * len(config.token_ids),
        cpt_tokens_type_mask=list(config.token_types),
        opt_projection_epsilon=config.epsilon,
        opt_projection_format_epsilon=config.epsilon,
    )


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """d for each token of the examples.

    Raises:
        InputError: there are no examples yet, a value is out of range, or the base is an
            encoder-decoder, for which peft has no CPT.
    """
    if has_encoder(shapes):
        raise InputError("cpt: peft supports decoders only, and this base is an encoder-decoder")
    if not config.token_ids:
        raise InputError("cpt's size is defined only once its examples are drawn from a task")
    require("epsilon", config.epsilon, 0)
    return len(config.token_ids) * embedding(shapes)[1]

"""Prompt tuning: train n vectors that are prepended to the input's embeddings.

Source: Lester et al. 2021, arXiv:2104.08691, sections 2 and 3.2. Layers: peft.PromptTuningConfig.
With `anchor_weight` a penalty pulls the vectors to the tokens of a text while they learn the task:
Khashabi et al. 2022, arXiv:2112.08348, section 3, measure the cost in accuracy. Learning rate: the
best of five on bbc_topic and word_sentiment (SmolLM2-135M, 60 steps of 8 examples); Lester et al.'s
0.3 is Adafactor's, for T5 (google-research/prompt-tuning).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError, require
from peftlens.layers.batched_adapters import PrependedVectors
from peftlens.layers.initial_tokens import draw_tokens
from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.models.architecture import embedding
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "y = f([P; embed(x)])"
EXPOSES = frozenset({"soft_prompt", "token_vectors"})
UNMERGEABLE = "it changes the input and no weight"
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of prompt tuning.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        init: initialization: "vocabulary" (embeddings of common tokens drawn without replacement),
            "random" (uniform, with the median length of the vocabulary's embeddings; the range of
            Lester et al. section 3.2, -0.5 .. 0.5, is in proportion to T5's), "text" (the tokens
            of `init_text`, repeated) or "labels" (one vector per label, the mean over its tokens;
            the rest as for "vocabulary").
        init_text: text for init = "text".
        init_ids: token ids for each vector, filled in from text or labels; the vector starts as
            their mean embedding.
        common_ids: ranges of ids of the tokens from which vectors are drawn, filled in from the
            tokenizer: the 5,000 most common (Lester et al. section 3.2).
        anchor_weight: γ; γ times the mean over vectors of their squared distance to the tokens of
            `anchor_text` is added to the loss.
        anchor_text: text that anchors the prompt, repeated or truncated to n tokens.
        anchor_ids: one token id per vector, filled in from the text.
    """

    num_virtual_tokens: int = 20
    init: Literal["vocabulary", "random", "text", "labels"] = "vocabulary"
    init_text: str = ""
    init_ids: tuple[tuple[int, ...], ...] = ()
    common_ids: tuple[tuple[int, int], ...] = ()
    anchor_weight: float = 0.0
    anchor_text: str = ""
    anchor_ids: tuple[int, ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Turn the initial and anchor texts, or the labels, into token ids; fill in common tokens.

    Raises:
        InputError: there is no such text, or the task has no labels.
    """
    if config.anchor_weight or config.anchor_text:
        config = replace(
            config, anchor_ids=_tokens("anchor_text", config.anchor_text, config, context)
        )
    if config.init == "text":
        tokens = _tokens("init_text", config.init_text, config, context)
        return replace(config, init_ids=tuple((token,) for token in tokens))
    if config.init == "random":
        return config
    config = replace(config, common_ids=context.common_ids())
    if config.init == "labels":
        labels = context.task.labels
        if not labels:
            raise InputError("init='labels' needs a task with labels; choose another init")
        groups = tuple(tuple(context.continuation_ids(label)) for label in labels)
        return replace(config, init_ids=groups[: config.num_virtual_tokens])
    return config


def _tokens(option: str, text: str, config: Config, context: MethodContext) -> tuple[int, ...]:
    """Return a text's token ids, repeated or truncated to one per vector."""
    tokens = context.token_ids(text)
    if not tokens:
        raise InputError(f"{option}={text!r} has no tokens; write some text there")
    return tuple((tokens * config.num_virtual_tokens)[: config.num_virtual_tokens])


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the vectors, in float32, to its (encoder's) input."""
    wrapped = wrap_prompt(model, peft.PromptTuningConfig, config.num_virtual_tokens)
    encoder: Any = wrapped.prompt_encoder["default"]
    with torch.no_grad():
        encoder.embedding.weight.copy_(_start(config, model.get_input_embeddings()))
    return wrapped


def _start(config: Config, embed: Any) -> torch.Tensor:
    """Initialize the vectors (n, d), drawn from torch's global generator.

    The embedding is the layer's output, which the model reads: Gemma's layer scales its rows.
    """
    n, (vocabulary, width) = config.num_virtual_tokens, embed.weight.shape

    def read(ids: torch.Tensor) -> torch.Tensor:
        return embed(ids.to(embed.weight.device)).float()

    if config.init == "random":
        lengths = [read(ids).norm(dim=1) for ids in torch.arange(vocabulary).split(4096)]
        # of d coordinates uniform in -a .. a, the expected squared length is d a² / 3
        most = torch.cat(lengths).median().cpu() * math.sqrt(3 / width)
        return most * (2 * torch.rand(n, width) - 1)
    start = read(draw_tokens(config.common_ids, n, vocabulary))
    for position, ids in enumerate(config.init_ids):
        start[position] = read(torch.tensor(ids)).mean(dim=0)
    return start


def regularization_loss(model: nn.Module, config: Config) -> torch.Tensor:
    """γ mean ‖p − t‖² over the vectors p and their anchor tokens t; 0 without anchors."""
    owner: Any = model
    vectors = owner.prompt_encoder["default"].embedding.weight
    if not config.anchor_ids:
        return 0 * vectors.sum()
    anchors = torch.tensor(config.anchor_ids, device=vectors.device)
    targets = owner.word_embeddings(anchors).detach().float()
    return config.anchor_weight * (vectors - targets).square().sum(dim=1).mean()


def batchable_fields(config: Config) -> tuple[str, ...] | None:
    """Return the fields in which runs of one pass may differ; None for an anchored prompt."""
    return None if config.anchor_ids else ("init", "init_text", "init_ids", "common_ids")


def trainable_parts(model: nn.Module) -> dict[str, PrependedVectors]:
    """Return the vectors, as the part of the whole model."""
    owner: Any = model
    return {"": PrependedVectors(owner.prompt_encoder["default"].embedding.weight)}


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n d for the vectors.

    Raises:
        InputError: n is below 1 or above the vocabulary's size, anchor_weight is negative, or token
            ids filled in by a user do not fit.
    """
    vocabulary, width = embedding(shapes)
    n = config.num_virtual_tokens
    require("num_virtual_tokens", n, 1, vocabulary, "the size of the vocabulary")
    require("anchor_weight", config.anchor_weight, 0)
    _check_ids("init_ids", config.init_ids, n, vocabulary)
    anchors = tuple((token,) for token in config.anchor_ids)
    _check_ids("anchor_ids", anchors, n, vocabulary)
    if anchors and len(anchors) != n:
        raise InputError(f"anchor_ids must hold a token for each of {n} vectors")
    return config.num_virtual_tokens * width


def _check_ids(option: str, ids: tuple[tuple[int, ...], ...], most: int, vocabulary: int) -> None:
    if len(ids) > most or not all(ids) or any(not 0 <= t < vocabulary for one in ids for t in one):
        raise InputError(
            f"{option} must hold at most {most} groups of token ids below {vocabulary}; leave it "
            "out to have it filled in from a text or from labels"
        )

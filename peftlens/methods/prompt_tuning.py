"""Prompt tuning: train n vectors that stand before the input's embeddings.

Source: Lester et al. 2021, arXiv:2104.08691, sections 2 and 3.2. Layers: peft.PromptTuningConfig.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.anatomy import Shapes, embedding, embedding_weight
from peftlens.errors import BadInput
from peftlens.layers.wrapping import wrap_prompt
from peftlens.setting import Setting

FAMILY = "soft prompt"
EXPOSES = frozenset({"soft_prompt"})
UNMERGEABLE = "it changes the input and no weight"
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters of prompt tuning.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        init: where they start: "vocabulary" (embeddings of tokens drawn without replacement),
            "random" (uniform in -0.5 .. 0.5, Lester et al. section 3.2), "text" (the tokens of
            `init_text`, repeated) or "labels" (one vector a label, the mean over its tokens; the
            rest as for "vocabulary").
        init_text: the text for init = "text".
        init_ids: filled in from text or labels: for each vector the token ids whose mean embedding
            it starts from.
    """

    num_virtual_tokens: int = 20
    init: Literal["vocabulary", "random", "text", "labels"] = "vocabulary"
    init_text: str = ""
    init_ids: tuple[tuple[int, ...], ...] = ()


def resolve(config: Config, setting: Setting) -> Config:
    """Turn the text or the labels that the prompt starts from into token ids.

    Raises:
        BadInput: there is no such text, or the task has no labels.
    """
    if config.init == "text":
        found = setting.ids(config.init_text)
        if not found:
            raise BadInput(f"init_text={config.init_text!r} has no tokens; init='text' needs some")
        repeated = (found * config.num_virtual_tokens)[: config.num_virtual_tokens]
        return replace(config, init_ids=tuple((token,) for token in repeated))
    if config.init == "labels":
        labels = setting.task.labels
        if not labels:
            raise BadInput("init='labels' needs a task with labels; choose another init")
        found = tuple(tuple(setting.ids(label)) for label in labels)
        return replace(config, init_ids=found[: config.num_virtual_tokens])
    return config


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and put the vectors, in float32, before its (encoder's) input."""
    wrapped = wrap_prompt(model, peft.PromptTuningConfig, config.num_virtual_tokens)
    encoder: Any = wrapped.prompt_encoder["default"]
    with torch.no_grad():
        encoder.embedding.weight.copy_(_start(config, embedding_weight(model)))
    return wrapped


def _start(config: Config, table: torch.Tensor) -> torch.Tensor:
    """The vectors (n, d) before training, drawn from torch's global generator."""
    n = config.num_virtual_tokens
    if config.init == "random":
        return torch.rand(n, table.shape[1]) - 0.5
    drawn = table[torch.randperm(len(table))[:n].to(table.device)].float()
    for position, ids in enumerate(config.init_ids):
        drawn[position] = table[list(ids)].float().mean(dim=0)
    return drawn


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """N d.

    Raises:
        BadInput: n is below 1 or above the vocabulary's size.
    """
    vocabulary, width = embedding(shapes)
    if not 1 <= config.num_virtual_tokens <= vocabulary:
        raise BadInput(
            f"num_virtual_tokens={config.num_virtual_tokens} must lie between 1 and {vocabulary}, "
            "the size of the vocabulary"
        )
    return config.num_virtual_tokens * width

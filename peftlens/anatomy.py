"""Where things are in a model, read off its parameters' names and shapes.

Methods use it twice: to find the modules to adapt, and to count what they would train without a
model. A weight that two modules share (tied embeddings) has one name and counts once.
"""

import re
from collections.abc import Collection, Mapping
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import BadInput

Shapes = Mapping[str, tuple[int, ...]]

_BLOCK = re.compile(r"^(?P<stack>.+?)\.(?P<index>\d+)\.")
_FEED_FORWARD = re.compile(r"^(.+?\.\d+\.(?:.+\.)?(?:mlp|DenseReluDense|feed_forward|ffn))\.")
_NORM = re.compile(r"norm|^ln_", re.IGNORECASE)
_EMBEDDING = re.compile(r"\b(embed_tokens|wte|shared|embed_in|word_embeddings)\.weight$")


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter, by dotted name, in the model's own order."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def embedding(shapes: Shapes) -> tuple[int, ...]:
    """Shape (V, d) of the input embedding.

    Raises:
        BadInput: no parameter has one of the known names.
    """
    for name, shape in shapes.items():
        if _EMBEDDING.search(name):
            return shape
    raise BadInput("this model's input embedding has an unknown name; no soft prompt fits it")


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The input embedding's weight itself, shape (V, d)."""
    return cast("nn.Embedding", model.get_input_embeddings()).weight


def linear_weights(shapes: Shapes, target_modules: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Weights of the linear layers whose module's last name part is a target.

    Raises:
        BadInput: a target matches nothing; the message lists what there is.
    """
    linear = {
        name: shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and _BLOCK.match(name)
    }
    last_parts = dict.fromkeys(name.split(".")[-2] for name in linear)
    for target in target_modules:
        if target not in last_parts:
            raise BadInput(
                f"target_modules: {target!r} matches no layer; "
                f"the linear layers of this model end in {', '.join(last_parts)}"
            )
    return {name: shape for name, shape in linear.items() if name.split(".")[-2] in target_modules}


def last_blocks(shapes: Shapes, count: int) -> dict[str, tuple[int, ...]]:
    """Parameters of the top `count` transformer blocks; the decoder's where there is an encoder.

    Raises:
        BadInput: the model has fewer blocks, or `count` is below 1.
    """
    places = {name: match for name in shapes if (match := _BLOCK.match(name))}
    if not places:
        raise BadInput("this model has no numbered transformer blocks")
    stack = list(places.values())[-1]["stack"]
    index = {name: int(match["index"]) for name, match in places.items() if match["stack"] == stack}
    depth = max(index.values()) + 1
    if not 1 <= count <= depth:
        raise BadInput(f"blocks={count} must lie between 1 and {depth}, this model's depth")
    return {name: shapes[name] for name, block in index.items() if block >= depth - count}


def norms(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Parameters of the normalisation layers.

    Raises:
        BadInput: the model has none of a known name.
    """
    found = {
        name: shape
        for name, shape in shapes.items()
        if len(shape) == 1 and _NORM.search(name.split(".")[-2])
    }
    if not found:
        raise BadInput("this model has no layer whose name says that it normalises")
    return found


def feed_forwards(shapes: Shapes) -> list[str]:
    """Dotted names of the feed-forward modules, one a block, encoder's before decoder's.

    Raises:
        BadInput: the model has none of a known name.
    """
    found = dict.fromkeys(match[1] for name in shapes if (match := _FEED_FORWARD.match(name)))
    if not found:
        raise BadInput(
            "this model has no feed-forward module of a known name "
            "(mlp, DenseReluDense, feed_forward, ffn)"
        )
    return list(found)


def task_type(model: PreTrainedModel) -> str:
    """What peft calls this kind of model."""
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def freeze(model: nn.Module) -> None:
    """No parameter is trained."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def thaw(model: nn.Module, names: Collection[str]) -> None:
    """Freeze all parameters but these, which are replaced by trainable copies of themselves.

    The originals stay as they are, so whoever lent the model gets it back by putting them back.
    A shared weight stays shared.
    """
    freeze(model)
    chosen = {id(p): nn.Parameter(p.detach().clone()) for n, p in model.named_parameters()
              if n in names}  # fmt: skip
    for module in model.modules():
        for key, parameter in module._parameters.items():
            if id(parameter) in chosen:
                module._parameters[key] = chosen[id(parameter)]

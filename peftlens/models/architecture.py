"""Architecture of a model: its blocks, norms, embeddings and sites of adapters, by parameter names.

Methods use it twice: to find the modules to adapt, and to count trainable parameters without a
model. A weight that two modules share (tied embeddings) has one name and counts once.
"""

import re
from collections.abc import Collection, Iterable
from typing import Literal, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.models.heads import head_modules, is_in_head
from peftlens.models.quantized import require_plain, shape_of
from peftlens.models.target_modules import BLOCK, ROLES, Shapes, block_layers, matrices

# Modules after which an adapter sits: the last before the residual sum.
_SITES = {
    "attention": re.compile(
        r"^(.+?\.\d+\.(?:.+\.)?(?:self_attn|attn|attention|self_attention|SelfAttention))\."
    ),
    "feed_forward": re.compile(
        r"^(.+?\.\d+\.(?:.+\.)?(?:mlp|DenseReluDense|feed_forward|ffn|fc2|block_sparse_moe))\."
    ),
}
# BERT and its relatives add the residual inside of these modules, so the last layer is the site.
_RESIDUAL_INSIDE = {
    "attention": re.compile(r"^(.+?\.\d+\.attention\.output\.dense)\."),
    "feed_forward": re.compile(r"^(.+?\.\d+\.output\.dense)\."),
}
_CROSS_ATTENTION = re.compile(r"EncDecAttention|encoder_attn|cross_?att", re.IGNORECASE)
_QUERY_KEY_VALUE = ("c_attn", "query_key_value", "qkv_proj", "Wqkv")
_NORM = re.compile(r"norm|^ln_", re.IGNORECASE)
_EMBEDDING = re.compile(
    r"\b(embed_tokens|wte|shared|embed_in|word_embeddings|tok_embeddings|embeddings)\.weight$"
)


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, by dotted name, in the model's order.

    Those of a new head are left out: it is trained whole with every method. Packed 4-bit weights
    have the shape of the matrix that they stand for.
    """
    return {
        name: shape_of(parameter)
        for name, parameter in model.named_parameters()
        if not is_in_head(name, model)
    }


def embedding(shapes: Shapes) -> tuple[int, ...]:
    """Return the shape (V, d) of the input embedding.

    Raises:
        InputError: no parameter has one of the recognized names.
    """
    for name, shape in shapes.items():
        if _EMBEDDING.search(name):
            return shape
    raise InputError("this model's input embedding has an unknown name; soft prompts can't be used")


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """Return the input embedding's weight, shape (V, d)."""
    return cast("nn.Embedding", model.get_input_embeddings()).weight


def last_blocks(shapes: Shapes, count: int) -> dict[str, tuple[int, ...]]:
    """Return the parameters of the top `count` blocks; in an encoder-decoder, the decoder's.

    Raises:
        InputError: the model has fewer blocks, or `count` is below 1.
    """
    places = {name: match for name in shapes if (match := BLOCK.match(name))}
    if not places:
        raise InputError("this model has no numbered transformer blocks")
    stack = list(places.values())[-1]["stack"]
    index = {name: int(match["index"]) for name, match in places.items() if match["stack"] == stack}
    depth = max(index.values()) + 1
    if not 1 <= count <= depth:
        raise InputError(f"blocks={count} must lie between 1 and {depth}, this model's depth")
    return {name: shapes[name] for name, block in index.items() if block >= depth - count}


def norms(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the parameters of the normalization layers.

    Raises:
        InputError: the model has none with a recognized name.
    """
    gains_and_biases = {
        name: shape
        for name, shape in shapes.items()
        if len(shape) == 1 and _NORM.search(name.rpartition(".")[0].split(".")[-1])
    }
    if not gains_and_biases:
        raise InputError("this model has no normalization layer with a recognized name")
    return gains_and_biases


def sites(shapes: Shapes, role: Literal["attention", "feed_forward"]) -> dict[str, int]:
    """Return names and widths of the modules that an adapter follows, one per block.

    Encoder before decoder. The width is that of the residual stream.

    Raises:
        InputError: the model has none with a recognized name.
    """
    layers = matrices(shapes)  # a router's input has the stream's width, too
    widths: dict[str, int] = {}
    inside = any(map(_RESIDUAL_INSIDE[role].match, shapes))
    pattern = (_RESIDUAL_INSIDE if inside else _SITES)[role]
    for name in shapes:
        if match := pattern.match(name):
            site = match[1]
            first = next(layer for layer in layers if f"{layer}.".startswith(f"{site}."))
            # fc2 is a layer whose output has the stream's width; in a container it is the input
            # of the first layer
            widths.setdefault(site, layers[first][0 if first == site else 1])
    if not widths:
        raise InputError(f"this model has no {role.replace('_', '-')} module of a recognized name")
    return widths


def blocks(shapes: Shapes) -> list[str]:
    """Return the dotted names of the transformer blocks, encoder before decoder.

    Raises:
        InputError: the model has no numbered blocks.
    """
    names = dict.fromkeys(
        f"{match['stack']}.{match['index']}" for name in shapes if (match := BLOCK.match(name))
    )
    if not names:
        raise InputError("this model has no numbered transformer blocks")
    return list(names)


def has_encoder(shapes: Shapes) -> bool:
    """Whether the model is an encoder-decoder."""
    names = [f".{block}" for block in blocks(shapes)]
    return all(any(part in name for name in names) for part in (".encoder.", ".decoder."))


def key_widths(shapes: Shapes) -> list[int]:
    """Return the width of the keys, over all heads, of each self-attention layer of the decoder.

    Raises:
        InputError: no layer has one of the recognized names, or queries share fused keys.
    """
    stack = blocks(shapes)[-1].rpartition(".")[0]
    widths = []
    for name, (d_out, d_in) in block_layers(shapes).items():
        last = name.split(".")[-1]
        if not name.startswith(f"{stack}.") or _CROSS_ATTENTION.search(name):
            continue
        if last in ("k_proj", "k", "key", "key_proj"):
            widths.append(d_out)
        elif last in _QUERY_KEY_VALUE:  # concatenated
            if d_out != 3 * d_in:
                raise InputError(f"{name} does not make a key for every query; no prefix fits it")
            widths.append(d_in)
    if not widths:
        raise InputError("this model's key projections have unknown names; no prefix fits it")
    return widths


def part_of(name: str) -> str:
    """Classify a parameter: attention, feed_forward, embeddings or other (norms, an untied head).

    Args:
        name: dotted name of the parameter.
    """
    if BLOCK.match(name) and not _NORM.search(name.rpartition(".")[0].split(".")[-1]):
        place = BLOCK.sub("", name, count=1)
        return next((r for r in ("attention", "feed_forward") if ROLES[r].search(place)), "other")
    return "embeddings" if _EMBEDDING.search(name) else "other"


def task_type(model: PreTrainedModel) -> str:
    """Return peft's task type for this kind of model, or its new head."""
    if head_modules(model):
        return "TOKEN_CLS" if "TokenClassification" in type(model).__name__ else "SEQ_CLS"
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def require_room(model: PreTrainedModel, tokens: int) -> None:
    """Refuse a prompt so long that too few positions are left for the input.

    Raises:
        InputError: it is longer than half of the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    if context and tokens > context // 2:
        raise InputError(
            f"{tokens} tokens before the input are too many: this model's context is {context}, "
            "and half of it is reserved for the input"
        )


def freeze(model: nn.Module) -> None:
    """Freeze all parameters of a model."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def count_trainable(parameters: Iterable[nn.Parameter]) -> int:
    """Count the values that an optimizer changes."""
    return sum(p.numel() for p in parameters if p.requires_grad)


def thaw(model: nn.Module, names: Collection[str]) -> None:
    """Freeze all parameters except these, which are replaced by trainable copies.

    The originals are unchanged, so a snapshot restores the model by putting them back. A shared
    weight stays shared.

    Raises:
        InputError: one of them is quantized.
    """
    freeze(model)
    for copy in copy_weights(model, names):
        copy.requires_grad_(True)


def copy_weights(model: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Replace parameters by frozen copies; a shared one stays shared.

    Raises:
        InputError: one of them is quantized.
    """
    named = [(name, p) for name, p in model.named_parameters() if name in names]
    require_plain(named, "it can't be changed")
    chosen = {
        id(p): nn.Parameter(p.detach().clone(), requires_grad=False)
        for n, p in model.named_parameters()
        if n in names
    }
    for module in model.modules():
        for key, parameter in module._parameters.items():
            if id(parameter) in chosen:
                module._parameters[key] = chosen[id(parameter)]
    return list(chosen.values())


def has_dropout(module: nn.Module) -> bool:
    """Whether the module drops values at random in training."""
    rates = (getattr(module, name, 0) for name in ("p", "dropout", "attention_dropout"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)

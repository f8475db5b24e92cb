"""Architecture of a model: its linear layers, blocks, norms and embeddings, by parameter names.

Methods use it twice: to find the modules to adapt, and to count trainable parameters without a
model. A weight that two modules share (tied embeddings) has one name and counts once.
"""

import re
from collections.abc import Collection, Mapping
from typing import Literal, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError
from peftlens.models.quantized import shape_of

Shapes = Mapping[str, tuple[int, ...]]

_BLOCK = re.compile(r"^(?P<stack>.+?)\.(?P<index>\d+)\.")
# Patterns of module names inside a block, for Llama, GPT-2, GPT-NeoX, OPT, T5 and similar models.
ROLES = {
    "attention": re.compile(r"attn|attention", re.IGNORECASE),
    "feed_forward": re.compile(r"\b(mlp|DenseReluDense|feed_forward|ffn|fc1|fc2)\."),
    # fused projections are adapted whole
    "query_value": re.compile(
        r"\b(q_proj|v_proj|q|v|query|value|c_attn|query_key_value|qkv_proj)\.$"
    ),
    "key_value": re.compile(r"\b(k_proj|v_proj|k|v|key|value|c_attn|query_key_value|qkv_proj)\.$"),
    "feed_forward_output": re.compile(
        r"\b(mlp\.c_proj|down_proj|DenseReluDense\.wo|dense_4h_to_h|fc2)\.$"
    ),
    "all_linear": re.compile(""),
}
# Modules after which an adapter sits: the last before the residual sum.
_SITES = {
    "attention": re.compile(r"^(.+?\.\d+\.(?:.+\.)?(?:self_attn|attn|attention|SelfAttention))\."),
    "feed_forward": re.compile(
        r"^(.+?\.\d+\.(?:.+\.)?(?:mlp|DenseReluDense|feed_forward|ffn|fc2))\."
    ),
}
_NORM = re.compile(r"norm|^ln_", re.IGNORECASE)
_EMBEDDING = re.compile(r"\b(embed_tokens|wte|shared|embed_in|word_embeddings)\.weight$")


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, by dotted name, in the model's order.

    Packed 4-bit weights have the shape of the matrix that they stand for.
    """
    return {name: shape_of(parameter) for name, parameter in model.named_parameters()}


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


def linear_layers(shapes: Shapes, target_modules: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return names and (d_out, d_in) of the targeted linear layers, in the model's order.

    Args:
        shapes: shapes of the model's parameters, by name.
        target_modules: roles (attention, feed_forward, query_value, all_linear), or ends of module
            names, such as q_proj or attn.c_proj.

    Raises:
        InputError: a target matches nothing; the message lists the layers of the model.
    """
    inside = {
        name.removesuffix(".weight"): _orientation(name, shapes)
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and _BLOCK.match(name)
        if not name.endswith("relative_attention_bias.weight")  # T5's: a table, not a layer
    }
    chosen: set[str] = set()
    for target in target_modules:
        matches = {name for name in inside if _matches(name, target)}
        if not matches:
            last_parts = dict.fromkeys(name.split(".")[-1] for name in inside)
            raise InputError(
                f"target_modules: {target!r} matches no layer; the linear layers of this model end "
                f"in {', '.join(last_parts)}; roles: {', '.join(ROLES)}"
            )
        chosen |= matches
    if not chosen:
        raise InputError(f"target_modules names no layer; roles: {', '.join(ROLES)}")
    return {name: shape for name, shape in inside.items() if name in chosen}


def _orientation(name: str, shapes: Shapes) -> tuple[int, int]:
    """Return (d_out, d_in); GPT-2's transposed layers are recognized by their biases."""
    first, second = shapes[name]
    bias = shapes.get(name.removesuffix("weight") + "bias")
    return (second, first) if bias == (second,) else (first, second)


def _matches(name: str, target: str) -> bool:
    if target in ROLES:
        place = _BLOCK.sub("", f"{name}.", count=1)
        return ROLES[target].search(place) is not None
    return name == target or name.endswith(f".{target}")


def short_names(chosen: Collection[str], shapes: Shapes) -> list[str]:
    """Return the shortest ends of names that match only these layers: q_proj, not 30 full names."""
    everything = linear_layers(shapes, ("all_linear",))
    suffixes = []
    for name in chosen:
        parts = name.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        suffixes.append(
            next(end for end in ends if {n for n in everything if _matches(n, end)} <= {*chosen})
        )
    return list(dict.fromkeys(suffixes))


def last_blocks(shapes: Shapes, count: int) -> dict[str, tuple[int, ...]]:
    """Return the parameters of the top `count` blocks; in an encoder-decoder, the decoder's.

    Raises:
        InputError: the model has fewer blocks, or `count` is below 1.
    """
    places = {name: match for name in shapes if (match := _BLOCK.match(name))}
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
        if len(shape) == 1 and _NORM.search(name.split(".")[-2])
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
    layers = linear_layers(shapes, ("all_linear",))
    widths: dict[str, int] = {}
    for name in shapes:
        if match := _SITES[role].match(name):
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
        f"{match['stack']}.{match['index']}" for name in shapes if (match := _BLOCK.match(name))
    )
    if not names:
        raise InputError("this model has no numbered transformer blocks")
    return list(names)


def has_encoder(shapes: Shapes) -> bool:
    """Whether the model is an encoder-decoder."""
    return any(".encoder." in f".{block}" for block in blocks(shapes))


def key_widths(shapes: Shapes) -> list[int]:
    """Return the width of the keys, over all heads, of each self-attention layer of the decoder.

    Raises:
        InputError: no layer has one of the recognized names, or queries share fused keys.
    """
    stack = blocks(shapes)[-1].rpartition(".")[0]
    widths = []
    for name, (d_out, d_in) in linear_layers(shapes, ("all_linear",)).items():
        last = name.split(".")[-1]
        if not name.startswith(f"{stack}.") or "EncDecAttention" in name:
            continue
        if last in ("k_proj", "k", "key"):
            widths.append(d_out)
        elif last in ("c_attn", "query_key_value"):  # query, key and value concatenated
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
    if _BLOCK.match(name) and not _NORM.search(name.split(".")[-2]):
        place = _BLOCK.sub("", name, count=1)
        return next((r for r in ("attention", "feed_forward") if ROLES[r].search(place)), "other")
    return "embeddings" if _EMBEDDING.search(name) else "other"


def task_type(model: PreTrainedModel) -> str:
    """Return peft's task type for this kind of model."""
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


def thaw(model: nn.Module, names: Collection[str]) -> None:
    """Freeze all parameters except these, which are replaced by trainable copies.

    The originals are unchanged, so a snapshot restores the model by putting them back. A shared
    weight stays shared.
    """
    freeze(model)
    for copy in copy_weights(model, names):
        copy.requires_grad_(True)


def copy_weights(model: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Replace parameters by frozen copies; a shared one stays shared."""
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

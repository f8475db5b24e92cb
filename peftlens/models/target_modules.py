"""Target modules: linear layers and experts of a model, by role or by name.

A linear layer is a matrix in a numbered block. The experts of a layer are one 3-D parameter, one
matrix for each expert, in a module of their own; a router scores the experts for each token, and
changing it changes which experts run, so only the role `router`, or its name, means it.
"""

import re
from collections.abc import Collection, Mapping

from peftlens.errors import InputError, did_you_mean, nearest

Shapes = Mapping[str, tuple[int, ...]]

BLOCK = re.compile(r"^(?P<stack>.+?)\.(?P<index>\d+)\.")
# Patterns of module names inside a block. Fused projections are adapted whole: GPT-2's c_attn,
# MPT's Wqkv, and the latent attention of DeepSeek, whose kv_b_proj makes keys and values.
_FUSED = "c_attn|query_key_value|qkv_proj|Wqkv|kv_b_proj"
ROLES = {
    "attention": re.compile(r"attn|attention", re.IGNORECASE),
    "feed_forward": re.compile(
        r"\b(mlp|shared_mlp|DenseReluDense|feed_forward|ffn|fc1|fc2|block_sparse_moe|moe|experts)\.|"
        r"^(intermediate|output)\.dense\."  # BERT's
    ),
    "query_value": re.compile(
        rf"\b(q_proj|v_proj|q|v|query|value|query_proj|value_proj|q_b_proj|{_FUSED})\.$"
    ),
    "key_value": re.compile(rf"\b(k_proj|v_proj|k|v|key|value|key_proj|value_proj|{_FUSED})\.$"),
    "feed_forward_output": re.compile(
        r"\b(mlp\.(c_proj|Wo)|down_proj|(DenseReluDense|mlp|expert_\d+)\.wo|dense_4h_to_h|fc2|"
        r"fc_out|output_linear)\.$|^output\.dense\.$"
    ),
    "experts": re.compile(r"\bexperts\."),
    "router": re.compile(""),  # see `_is_router`
    "all_linear": re.compile(""),
}
_STACKED = re.compile(r"experts?\b|moe\b")  # in names of 3-D parameters that hold experts
_ROUTER = re.compile(
    r"(^|\.)(router|gate|gating|shared_expert_gate)(\.(classifier|layer|linear|wg))?$"
)
_NAMED = 2  # experts named in a message


def matrices(shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Return names and (d_out, d_in) of all matrices in blocks, routers included."""
    return {
        name.removesuffix(".weight"): _orientation(name, shapes)
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and BLOCK.match(name)
        if not name.endswith("relative_attention_bias.weight")  # T5's: a table, not a layer
    }


def experts(shapes: Shapes) -> dict[str, tuple[int, int, int]]:
    """Return names and shapes of the parameters that hold one matrix for each expert.

    Their last two dimensions are (d_out, d_in) or (d_in, d_out), depending on the model.
    """
    return {
        name: (shape[0], shape[1], shape[2])
        for name, shape in shapes.items()
        if len(shape) == 3 and BLOCK.match(name) and _STACKED.search(name)
    }


def block_layers(shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Return names and (d_out, d_in) of the blocks' linear layers, routers and experts left out."""
    return {name: shape for name, shape in matrices(shapes).items() if not _is_router(name, shapes)}


def feed_forward_layers(shapes: Shapes) -> set[str]:
    """Return the names of the linear layers that are part of feed-forward modules, if any."""
    return {name for name in matrices(shapes) if _matches(name, "feed_forward", shapes)}


def linear_layers(shapes: Shapes, target_modules: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return names and (d_out, d_in) of the targeted linear layers, in the model's order.

    Args:
        shapes: shapes of the model's parameters, by name.
        target_modules: roles (attention, feed_forward, query_value, all_linear, ...), or ends of
            module names, such as q_proj or attn.c_proj.

    Raises:
        InputError: a target matches nothing, and the message lists the layers of the model; or it
            includes experts.
    """
    chosen = target_weights(shapes, target_modules)
    of_experts = experts(shapes)
    if stacked := [name for name in chosen if name in of_experts]:
        raise InputError(
            f"target_modules={list(target_modules)} include this model's experts "
            f"({', '.join(stacked[:_NAMED])}, ...), stacked weights that this method can't adapt; "
            "lora, lora_plus, rslora, modules and the masks can; or give attention, or names of "
            "single layers"
        )
    return {
        name.removesuffix(".weight"): (d_out, d_in) for name, (_, d_out, d_in) in chosen.items()
    }


def target_weights(
    shapes: Shapes, target_modules: Collection[str]
) -> dict[str, tuple[int, int, int]]:
    """Return the targeted weights, experts included, in the model's order.

    Args:
        shapes: shapes of the model's parameters, by name.
        target_modules: see `linear_layers`; or ends of names of experts' weights.

    Returns:
        By name of the parameter: the number of matrices, and the two sides of each.

    Raises:
        InputError: a target matches nothing; the message lists the layers of the model.
    """
    sizes = {f"{name}.weight": (1, *shape) for name, shape in matrices(shapes).items()}
    sizes |= experts(shapes)
    chosen: set[str] = set()
    for target in target_modules:
        matches = {name for name in sizes if _matches(name.removesuffix(".weight"), target, shapes)}
        if not matches:
            raise InputError(_no_match(target, sizes))
        chosen |= matches
    if not chosen:
        raise InputError(f"target_modules names no layer; roles: {', '.join(ROLES)}")
    return {name: sizes[name] for name in shapes if name in chosen}


def _no_match(target: str, names: Collection[str]) -> str:
    """Describe a target that matches nothing: the nearest role or name, and what there is."""
    ends = list(dict.fromkeys(name.removesuffix(".weight").split(".")[-1] for name in names))
    question = did_you_mean(nearest(target, [*ROLES, *ends]))
    meant = f"{question} " if question else ""
    return (
        f"target_modules: {target!r} matches no layer; {meant}the linear layers of this model end "
        f"in {', '.join(ends)}; roles: {', '.join(ROLES)}"
    )


def _orientation(name: str, shapes: Shapes) -> tuple[int, int]:
    """Return (d_out, d_in); GPT-2's transposed layers are recognized by their biases."""
    first, second = shapes[name]
    bias = shapes.get(name.removesuffix("weight") + "bias")
    return (second, first) if bias == (second,) else (first, second)


def _is_router(name: str, shapes: Shapes) -> bool:
    """Whether a matrix scores experts: it has a router's name, and its block has experts."""
    found = _ROUTER.search(name)
    around = name[: found.start()] if found else None
    return around is not None and any(
        other.startswith(f"{around}.") and "expert" in other[len(around) :] for other in shapes
    )


def _matches(name: str, target: str, shapes: Shapes) -> bool:
    if target not in ROLES:
        return name == target or name.endswith(f".{target}")
    if target == "router" or _is_router(name, shapes):
        return target == "router" and _is_router(name, shapes)
    return ROLES[target].search(BLOCK.sub("", f"{name}.", count=1)) is not None


def short_names(chosen: Collection[str], shapes: Shapes) -> list[str]:
    """Return the shortest ends of names that match only these: q_proj, not 30 full names.

    Ends of parameters' names include the module: experts.down_proj.

    Args:
        chosen: names of linear layers, or of parameters.
        shapes: shapes of the model's parameters, by name.
    """
    of_parameters = shapes.keys() >= {*chosen}
    everything = [*shapes] if of_parameters else [*matrices(shapes)]
    suffixes: list[str] = []
    for name in chosen:
        if any(_ends(name, end) for end in suffixes):
            continue
        parts = name.split(".")
        ends = (".".join(parts[-count:]) for count in range(1 + of_parameters, len(parts) + 1))
        suffixes.append(
            next(end for end in ends if {n for n in everything if _ends(n, end)} <= {*chosen})
        )
    return suffixes


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")

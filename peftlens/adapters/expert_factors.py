"""Factors of experts' updates in peft's layout: one LoRA of rank experts x r for a stacked weight.

peft adapts a parameter that holds one matrix per expert by A of shape (experts · r, d_in), whose
rows are grouped by expert, and B of shape (d_out, r · experts), whose columns are grouped by rank.
Where several parameters of one module are adapted, each wrapper holds the next as `base_layer`, the
module's first parameter innermost.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from peftlens.models.architecture import shapes
from peftlens.models.target_modules import experts

Float = NDArray[np.floating]


def expert_name(parameter: str, expert: int | None) -> str:
    """Name one expert's matrix: `...experts.down_proj[3]`; a plain weight keeps its name."""
    return parameter if expert is None else f"{parameter}[{expert}]"


def plain_name(module: str) -> str:
    """Return a module's name in the base model, without peft's wrappers around it."""
    return module.replace(".base_layer", "")


def split_experts(b: Float, a: Float, count: int) -> Iterator[tuple[Float, Float]]:
    """Yield B (d_out, r) and A (r, d_in) of each expert.

    Args:
        b: shape (d_out, r · count).
        a: shape (count · r, d_in).
        count: number of experts.
    """
    by_rank = b.reshape(b.shape[0], -1, count)  # (d_out, r, experts)
    by_expert = a.reshape(count, -1, a.shape[1])  # (experts, r, d_in)
    for expert in range(count):
        yield by_rank[:, :, expert], by_expert[expert]


def stored_transposed(model: nn.Module) -> set[str]:
    """Return names of the stacked weights that are stored as (experts, d_in, d_out)."""
    names = experts(shapes(model))
    return {
        name
        for name in names
        if getattr(model.get_submodule(name.rpartition(".")[0]), "is_transposed", False)
    }


def parameter_of(module: str, modules: Collection[str], targets: Collection[str]) -> str | None:
    """Return the parameter that a wrapper in an adapter's file adapts; None for a linear layer.

    Args:
        module: name of the wrapper, with one `base_layer` for each wrapper around it.
        modules: names of all modules with factors in the file.
        targets: `target_parameters` of the adapter's configuration.
    """
    plain = plain_name(module)
    names = {
        last
        for path, _, last in (str(target).rpartition(".") for target in targets)
        if not path or f".{plain}".endswith(f".{path}") or path.endswith(f".{plain}")
    }
    if not names:
        return None
    outer = [one for one in modules if plain_name(one) == plain]
    if len(outer) != len(names):
        return None
    # transformers defines an expert's output projection last, so its wrapper is the outermost
    order = sorted(names, key=lambda name: (_is_output(name), name))
    depth = sorted(outer, key=lambda one: -one.count(".base_layer"))
    return order[depth.index(module)]


def _is_output(name: str) -> bool:
    return any(part in name for part in ("down", "output", "w2"))


def expert_count(rows: int, rank: Any) -> int:
    """Return the number of experts of A with this many rows; 1 where the rank does not divide."""
    return rows // rank if isinstance(rank, int) and rank > 0 and rows % rank == 0 else 1

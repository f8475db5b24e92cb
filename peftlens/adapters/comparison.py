"""Comparison of adapters of one base model: similarity of their updates, and interference.

Per weight: the cosine of the updates; the overlap φ of their strongest directions, with that of
random ones for reference, and the principal angles (Hu et al. 2021, arXiv:2106.09685, section 7.2);
and the loss if both were added: the share of entries whose signs differ, and the share of the
magnitudes that cancels (Yadav et al. 2023, arXiv:2306.01708, section 3). Soft prompts are compared
as matrices of their vectors.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.adapter_file import HOLDING, AdapterFile
from peftlens.adapters.delta_factors import (
    DeltaFactors,
    delta_factors,
    weights,
)
from peftlens.adapters.delta_weights import delta_weights
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.tensor_names import adapted_modules, replaced, token_rows
from peftlens.errors import InputError
from peftlens.io.progress import track
from peftlens.numerics.linalg import principal_angles, random_similarity, subspace_similarity
from peftlens.results.table import Column, NotApplicable, Table
from peftlens.runs.trained_model import TrainedModel

PROMPT = "prompt_embeddings"
_T = TypeVar("_T", bound=TrainedModel)
_IN_MEMORY = 50_000_000  # values of an adapter whose factors are read at once: 400 MB in float64
COLUMNS = (
    Column("adapter", "the first adapter"),
    Column("other", "the second adapter"),
    Column("weight", "the weight matrix, or the prompt's vectors"),
    Column("in", "both, or the one that has an update of it"),
    Column("norm", "‖ΔW‖_F of the first", "1"),
    Column("other_norm", "‖ΔW‖_F of the second", "1"),
    Column("cosine", "cosine of the two updates, entry by entry", "1"),
    Column("directions", "number of strongest directions of each that are compared", "1"),
    Column("similarity", "φ of these directions in the outputs", "1"),
    Column("similarity_in", "φ of these directions in the inputs", "1"),
    Column("random", "φ of random directions in the outputs", "1"),
    Column("random_in", "φ of random directions in the inputs", "1"),
    Column("smallest_angle", "smallest angle between these subspaces of the inputs", "degrees"),
    Column("largest_angle", "largest angle between these subspaces of the inputs", "degrees"),
    Column("conflicts", "share of the entries changed by both whose signs differ", "1"),
    Column("canceled", "share of the magnitudes that is lost when both are added", "1"),
    Column("note", "what the files alone do not determine, or tensors that are no update"),
)


@dataclass(frozen=True)
class _Source:
    """Updates of one adapter, read on access.

    Attributes:
        name: name of the adapter.
        weights: names of the weights with an update.
        get: function that reads the update of a weight.
        undetermined: reasons why the file alone does not determine a weight's update, by weight.
        others: function that reads the tensors that are no update, such as a trained head.
    """

    name: str
    weights: tuple[str, ...]
    get: Callable[[str], DeltaFactors]
    undetermined: Mapping[str, str] = field(default_factory=dict)
    others: Callable[[], dict[str, torch.Tensor]] = dict


def compare(
    adapters: Sequence[ExternalAdapter],
    directions: int = 8,
    *,
    context: RunContext | None = None,
) -> Table:
    """Compare adapters: one row for each weight of each pair.

    Args:
        adapters: two or more.
        directions: number of strongest directions of each to compare; fewer where a rank is lower.
        context: access to the adapters' base model, for types whose files do not determine the
            update; by default the files alone are read.

    Raises:
        InputError: fewer than two adapters, or one has no update to compare.
    """
    if len(adapters) < 2:
        raise InputError("comparing needs two adapters or more")
    sources = [_source(one, context) for one in named(adapters)]
    rows = []
    for one, other in combinations(sources, 2):
        names = list(dict.fromkeys(
            (*one.weights, *other.weights, *one.undetermined, *other.undetermined)
        ))  # fmt: skip
        identity = {"adapter": one.name, "other": other.name}
        for name in track(names, "Comparing weights"):
            rows.append(identity | {"weight": name} | _row(one, other, name, directions))
        rows += [identity | row for row in _rest(one, other)]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return Table("comparison", 2, COLUMNS, (), frame, {"directions": directions})


def named(adapters: Sequence[_T]) -> list[tuple[str, _T]]:
    """Name adapters by the shortest distinct ends of their paths.

    Raises:
        InputError: one is listed twice.
    """
    paths = [adapter.path.resolve() for adapter in adapters]
    for count in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len({*names}) == len(names):
            return list(zip(names, adapters, strict=True))
    raise InputError(f"{paths[0]} is listed twice; give different adapters")


def _source(named: tuple[str, ExternalAdapter], context: RunContext | None) -> _Source:
    name, adapter = named
    file = adapter.file
    file.require_sound()
    if PROMPT in file.header:
        with file.open_weights() as opened:
            vectors = opened.get_tensor(PROMPT).float().numpy()
        return _Source(name, (PROMPT,), lambda _: DeltaFactors(name=PROMPT, change=vectors))
    others = partial(_others, file)
    try:
        if context is not None:
            deltas = {one.name: one for one in delta_weights(adapter, context.base_model(adapter))}
            return _Source(name, tuple(deltas), deltas.__getitem__, others=others)
        if sum(entry.size for entry in file.header.values()) <= _IN_MEMORY:
            factors = {one.name: one for one in delta_factors(file)}
            return _Source(name, tuple(factors), factors.__getitem__, others=others)
        return _Source(
            name, weights(file), lambda one: next(delta_factors(file, one)), others=others
        )
    except NotApplicable as reason:
        lora = context is None and file.adapter_type == "LORA"
        modules = adapted_modules(file) if lora and file.initialization not in HOLDING else []
        if not modules:
            raise InputError(f"{adapter.path} can't be compared: {reason}; give --base") from reason
        undetermined = {f"{module}.weight": str(reason) for module in modules}
        return _Source(name, (), _no_update, undetermined, others)


def _no_update(name: str) -> DeltaFactors:
    raise KeyError(name)


def _others(file: AdapterFile) -> dict[str, torch.Tensor]:
    """Read the tensors that replace the base's own, or rows of its tables."""
    names = (*replaced(file), *token_rows(file))
    with file.open_weights() as opened:
        return {name.removeprefix(PREFIX): file.tensor(opened, name).float() for name in names}


def _rest(one: _Source, other: _Source) -> Iterator[dict[str, Any]]:
    """Yield a row for each tensor beside the updates of matrices: heads, norms, biases, tokens."""
    first, second = one.others(), other.others()
    for name in dict.fromkeys((*first, *second)):
        if name in one.weights or name in other.weights:
            continue  # measured with the base model
        a, b = first.get(name), second.get(name)
        if a is None or b is None:
            source = other if a is None else one
            yield {"weight": name, "in": source.name, "note": "it replaces the base's own"}
            continue
        same_shape = a.shape == b.shape
        share = float((a - b).norm() / a.norm()) if same_shape and a.any() else None
        difference = "by all" if share is None else f"by {share:.2g} of the first's norm"
        equal = same_shape and torch.equal(a, b)
        words = (
            "both replace it, by the same" if equal else f"both replace it, and differ {difference}"
        )
        yield {"weight": name, "in": "both", "note": words}


def _row(one: _Source, other: _Source, name: str, directions: int) -> dict[str, Any]:
    if reason := one.undetermined.get(name, other.undetermined.get(name)):
        has_one = name in one.weights or name in one.undetermined
        has_other = name in other.weights or name in other.undetermined
        alone = one.name if has_one else other.name
        return {"in": "both" if has_one and has_other else alone, "note": reason}
    first = one.get(name) if name in one.weights else None
    second = other.get(name) if name in other.weights else None
    if first is None or second is None:
        there, source = (first, one) if first is not None else (second, other)
        assert there is not None
        column = "norm" if first is not None else "other_norm"
        return {"in": source.name, column: there.norm}
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"{name} has {first.shape[1]} inputs in {one.name} and {second.shape[1]} in "
            f"{other.name}: they are adapters of different base models"
        )
    row = {"in": "both", "norm": first.norm, "other_norm": second.norm}
    if first.norm and second.norm:
        row |= _overlap(first, second, directions)
        if first.shape == second.shape:
            row |= interference(first.dense, second.dense)
    return row


def _overlap(first: DeltaFactors, second: DeltaFactors, directions: int) -> dict[str, Any]:
    """Compare directions on both sides; of matrices with unequal rows, only in the inputs."""
    one, other = first.svd, second.svd
    k = min(directions, int((one.s > 0).sum()), int((other.s > 0).sum()))
    angles = np.degrees(principal_angles(one.vt[:k].T, other.vt[:k].T))
    row = {
        "directions": k,
        "similarity_in": subspace_similarity(one.vt[:k].T, other.vt[:k].T),
        "random_in": random_similarity(k, k, first.shape[1]),
        "smallest_angle": float(angles[0]),
        "largest_angle": float(angles[-1]),
    }
    if first.shape[0] == second.shape[0]:
        row["similarity"] = subspace_similarity(one.u[:, :k], other.u[:, :k])
        row["random"] = random_similarity(k, k, first.shape[0])
    return row


def interference(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Measure how two updates, neither of them zero, interfere if they are added.

    Args:
        first: ΔW of one, shape (d_out, d_in).
        second: ΔW of the other, of the same shape.

    Returns:
        By the names of COLUMNS: cosine, conflicts, and canceled.
    """
    product = first * second
    both = int((product != 0).sum())
    magnitude = float(np.abs(first).sum() + np.abs(second).sum())
    return {
        "cosine": float(product.sum() / (np.linalg.norm(first) * np.linalg.norm(second))),
        "conflicts": float((product < 0).sum() / both) if both else 0.0,
        "canceled": 1 - float(np.abs(first + second).sum()) / magnitude,
    }

"""Weight changes: all that tuning changed in a base, and what of it factors of a LoRA can carry."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from peftlens.adapters.adapter_file import read
from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.delta_weights import (
    DeltaWeight,
    TunedWeights,
    factored_deltas,
    tuned_weights,
    turned_weights,
)
from peftlens.adapters.merging import require_mergeable
from peftlens.adapters.token_tables import embedding_rows, table_rows
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel, in_float32
from peftlens.models.heads import head_state, is_in_head
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A change that a LoRA can't carry.

    Attributes:
        weight: name of the weight.
        norm: Frobenius norm of its change.
        why: reason.
    """

    weight: str
    norm: float
    why: str


@dataclass(frozen=True, kw_only=True)
class ModuleUpdate:
    """The update of a layer or a table, for factors of a LoRA.

    Attributes:
        modules: names of the modules; two where the head is tied to the table and stays so.
        delta: the update.
        is_table: whether it is a table of embeddings, whose factors peft names otherwise.
    """

    modules: tuple[str, ...]
    delta: DeltaWeight
    is_table: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class WeightChanges:
    """All changes of a base's weights by one training.

    Attributes:
        updates: changes that a LoRA can carry.
        lost: changes that it can't.
        head: tensors of a new head, by the base's names, which replace the base's own.
    """

    updates: tuple[ModuleUpdate, ...]
    lost: tuple[Lost, ...]
    head: Mapping[str, torch.Tensor]


def changes_of_run(run: TrainedModel, base: BaseModel) -> WeightChanges:
    """Return the changes by a run, or by an adapter of another program.

    Args:
        run: run of a method that can be merged.
        base: its base model in float32.

    Raises:
        InputError: the method can't be merged into this base, or it has tokens of its own.
    """
    require_mergeable(run)
    _refuse_added_tokens(run, base)
    factored = factored_deltas(run, base)
    if factored is None:
        return _changes(tuned_weights(run, in_float32(base)), base, run.rank)
    with open_run(run, base) as model:
        head = {name: tensor.float() for name, tensor in head_state(model).items()}
    return _sorted(factored, base, {}, [], head)


def changes_of_model(tuned: BaseModel, base: BaseModel) -> WeightChanges:
    """Return the changes by a training of the whole model.

    Args:
        tuned: the trained model in float32.
        base: the model that it was trained from, in float32.

    Raises:
        InputError: the two differ in more than the values of their weights.
    """
    before = dict(base.model.named_parameters(remove_duplicate=False))
    after = tuned.model.state_dict()
    for name, weight in before.items():
        shape = tuple(after[name].shape) if name in after else None
        if shape != tuple(weight.shape):
            has = "lacks it" if shape is None else f"has {shape}"
            raise InputError(
                f"{tuned.reference} is not a fine-tuned {base.reference!r}: {name} has shape "
                f"{tuple(weight.shape)} there, and {tuned.reference} {has}; give the model that it "
                "was trained from by --base"
            )
        if not after[name].isfinite().all():
            raise InputError(f"{tuned.reference}: {name} holds NaN or infinite values")
    plain = {name: weight.data for name, weight in before.items()}
    turned = turned_weights(base.model)
    return _changes(TunedWeights(before=plain, after=after, turned=turned), base, None)


def _refuse_added_tokens(run: TrainedModel, base: BaseModel) -> None:
    file = read(run.adapter(), trust_remote_code=base.trusted)
    rows = table_rows(file, base.model) if file.is_peft_type else None
    if rows is not None and rows > embedding_rows(base.model):
        raise InputError(
            f"{file.folder} has tables of {rows} tokens, and {base.reference!r} has "
            f"{embedding_rows(base.model)}: a LoRA adds no tokens; merge it instead, by "
            "`peftlens merge`"
        )


def _changes(tuned: TunedWeights, base: BaseModel, rank: int | None) -> WeightChanges:
    names: dict[tuple[int, int], list[str]] = {}  # tied weights have several
    for name, weight in tuned.before.items():
        key = weight.data_ptr(), tuned.after[name].data_ptr()
        names.setdefault(key, []).append(name)
    twins = {each[0]: tuple(each) for each in names.values()}
    deltas = _deltas(tuned, rank)
    plain = [name for name, weight in tuned.before.items() if weight.ndim not in (2, 3)]
    differences = ((name, tuned.after[name].float() - tuned.before[name].float()) for name in plain)
    lost = [
        Lost(weight=name, norm=difference.norm().item(), why="it is no matrix")
        for name, difference in differences
        if difference.any()
    ]
    head = {
        name: tensor.detach().float().clone()
        for name, tensor in tuned.after.items()
        if is_in_head(name, base.model)
    }
    return _sorted(deltas, base, twins, lost, head)


def _deltas(tuned: TunedWeights, rank: int | None) -> Iterator[DeltaWeight]:
    try:
        yield from tuned.deltas(rank)
    except NotApplicable as error:
        raise InputError(str(error)) from error


def _sorted(
    deltas: Iterable[DeltaWeight],
    base: BaseModel,
    twins: Mapping[str, tuple[str, ...]],
    lost: list[Lost],
    head: Mapping[str, torch.Tensor],
) -> WeightChanges:
    """Sort updates of matrices into those of layers and tables, and those of anything else."""
    updates, lost = [], [*lost]
    for delta in deltas:
        weights = twins.get(delta.name, (delta.name,))
        modules = tuple(name.removesuffix(".weight") for name in weights)
        kinds = [_kind(base.model, name) for name in weights]
        if None in kinds:
            why = "it is the weight of no linear layer or plain table of embeddings"
            lost.append(Lost(weight=delta.name, norm=delta.norm, why=why))
        else:
            tables = tuple(kind is nn.Embedding for kind in kinds)
            updates.append(ModuleUpdate(modules=modules, delta=delta, is_table=tables))
    return WeightChanges(updates=tuple(updates), lost=tuple(lost), head=head)


def _kind(model: Any, weight: str) -> type | None:
    """Return the kind of module that peft adapts; a subclass of a table may scale its rows."""
    module, _, last = weight.rpartition(".")
    if last != "weight":
        return None
    owner = model.get_submodule(module)
    if type(owner) is nn.Embedding:
        return nn.Embedding
    return next((kind for kind in (nn.Linear, Conv1D) if isinstance(owner, kind)), None)

"""Ablation: switch what a run trained on and off, block by block and by kind of module.

A method changes a base model in places: it replaces modules and parameters, and adds hooks. Each
place that differs from the base belongs to a block and a part of it, and can be put back, so that
the block computes exactly what the base's does. A prefix is one cache for all layers; where it is
off, the layer's attention mask hides it. What lies outside the blocks (embeddings, the last norm,
the head) is a unit of its own. A new head of a task is never switched off: no base has one.
"""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import peft
import torch
from torch import nn

from peftlens.adapters.checkpoint import open_run
from peftlens.layers.prefix import Prefix
from peftlens.models.architecture import blocks, part_of
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import is_in_head
from peftlens.models.snapshot import Snapshot
from peftlens.models.target_modules import BLOCK
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

OUTSIDE = -1  # index that stands for everything outside the blocks
_ENTRIES = ("_modules", "_parameters", "_buffers")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "forward")
_ABSENT: Any = object()


class Unit(NamedTuple):
    """What is switched together.

    Attributes:
        block: index of the block, encoder before decoder; `OUTSIDE` for the rest of the model.
        part: attention, feed_forward or other; see `architecture.part_of`.
    """

    block: int
    part: str


class _Place(NamedTuple):
    """A place of the model that differs from the base.

    Attributes:
        name: dotted name of a parameter there, or of one that could be.
        structural: whether the difference changes what is computed; other attributes follow.
        put: function that puts the run's value there, or the base's.
    """

    name: str
    structural: bool
    put: Callable[[bool], None]


@dataclass(frozen=True)
class Ablation:
    """A run attached to its base, whose units can be switched.

    Attributes:
        base: the base model.
        model: the run's model.
        blocks: dotted names of the blocks, to which the units' indices refer.
        units: units that the run changed, in the model's order.
    """

    base: BaseModel
    model: nn.Module
    blocks: tuple[str, ...]
    units: tuple[Unit, ...]
    _places: tuple[tuple[Unit, _Place], ...]
    _prefix: int  # number of virtual tokens in front of every attention layer

    @contextmanager
    def active(self, units: Collection[Unit]) -> Iterator[nn.Module]:
        """Yield the model with these units active and all others as in the base.

        All units give the run's logits, and none the base's.
        """
        chosen = {*units}
        layers = range(len(self.blocks)) if self._prefix else range(0)
        hidden = [at for at in layers if Unit(at, "attention") not in chosen]
        whole = len(hidden) < len(layers)
        for unit, place in self._places:
            place.put(whole if self._prefix and _of_prefix(unit) else unit in chosen)
        masked = [self.blocks[at] for at in hidden] if whole else []
        handles = [_hide(self.base.model.get_submodule(name), self._prefix) for name in masked]
        try:
            # without any block's prefix, peft's wrapper must not put one in front
            yield self.base.model if self._prefix and not whole else self.model
        finally:
            for handle in handles:
                handle.remove()
            for _, place in self._places:
                place.put(True)

    @property
    def has_prefix(self) -> bool:
        """Whether a prefix stands in front of the attention layers."""
        return self._prefix > 0


@contextmanager
def opened_for_ablation(run: TrainedModel, base: BaseModel) -> Iterator[Ablation]:
    """Attach a run so that its changes can be switched off, for the duration of the block.

    Raises:
        NotApplicable: it changes nothing inside the blocks, or a prefix in an encoder-decoder.
        InputError: see `checkpoint.attach_run`.
    """
    before = Snapshot.of(base.model)
    modules = [name for name, _ in base.model.named_modules()]
    parameters = [name for name, _ in base.model.named_parameters()]
    names = blocks(base.shapes)
    with open_run(run, base) as model:
        prefix = _prefix_length(model, base)
        places = tuple(
            (_unit(place.name, names), place)
            for place in _places(before, modules, parameters)
            if not is_in_head(place.name, base.model)
        )
        changed = {unit for unit, place in places if place.structural}
        if prefix:
            changed = {unit for unit in changed if not _of_prefix(unit)}
            changed |= {Unit(at, "attention") for at in range(len(names))}
        if all(unit.block == OUTSIDE for unit in changed):
            raise NotApplicable(f"{run.config.method} changes nothing inside the model's blocks")
        kept = tuple(one for one in places if one[0] in changed or (prefix and _of_prefix(one[0])))
        units = sorted(changed, key=lambda one: (one.block == OUTSIDE, one.block, one.part))
        yield Ablation(base, model, tuple(names), tuple(units), kept, prefix)


def _of_prefix(unit: Unit) -> bool:
    """Whether a unit is the hook on the whole model that puts a prefix there."""
    return unit.block == OUTSIDE


def _unit(name: str, names: list[str]) -> Unit:
    match = BLOCK.match(name)
    block = f"{match['stack']}.{match['index']}" if match else ""
    return Unit(names.index(block), part_of(name)) if block in names else Unit(OUTSIDE, "other")


def _places(before: Snapshot, modules: list[str], parameters: list[str]) -> Iterator[_Place]:
    """Find every place that differs from the base's snapshot.

    Args:
        before: snapshot of the base, in the order of the names.
        modules: names of the base's modules.
        parameters: names of its parameters.
    """
    for name, (module, kind, old) in zip(modules, before.modules, strict=True):
        own, new = f"{name}.weight", vars(module)
        if type(module) is not kind:
            put = partial(_put_class, module, kind, type(module))
            yield _Place(own, True, put)
        for key in dict.fromkeys([*old, *new]):
            was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
            if key in _ENTRIES:
                yield from _entries(module, name, key, was)
            elif not _equal(was, now):
                yield _Place(own, key in _HOOKS, partial(_put_entry, module, None, key, was, now))
    for name, (parameter, was, _) in zip(parameters, before.parameters, strict=True):
        if parameter.data_ptr() != was.data_ptr():
            yield _Place(name, True, partial(_put_data, parameter, was, parameter.data))


def _entries(module: nn.Module, name: str, table: str, was: dict[str, Any]) -> Iterator[_Place]:
    """Yield the children, parameters or buffers of a module that differ from the base's."""
    now = vars(module)[table]
    for key in dict.fromkeys([*was, *now]):
        old, new = was.get(key, _ABSENT), now.get(key, _ABSENT)
        if old is not new:
            child = f"{name}.{key}.weight" if table == "_modules" else f"{name}.{key}"
            yield _Place(child.lstrip("."), True, partial(_put_entry, module, table, key, old, new))


def _equal(one: Any, other: Any) -> bool:
    """Whether two attributes of a module are the same; hooks are kept in dictionaries."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    plain = (bool, int, float, str, set)
    return isinstance(one, plain) and isinstance(other, plain) and one == other


def _put_class(module: nn.Module, old: type, new: type, run: bool) -> None:
    module.__class__ = new if run else old


def _put_data(parameter: nn.Parameter, old: torch.Tensor, new: torch.Tensor, run: bool) -> None:
    parameter.data = new if run else old


def _put_entry(  # noqa: PLR0913  # a place, its two values, and which
    module: nn.Module, table: str | None, key: str, old: Any, new: Any, run: bool
) -> None:
    entries = vars(module) if table is None else vars(module)[table]
    value = new if run else old
    if value is _ABSENT:
        entries.pop(key, None)
    else:
        entries[key] = value


def _prefix_length(model: nn.Module, base: BaseModel) -> int:
    """Number of virtual tokens of a prefix, 0 without one.

    Raises:
        NotApplicable: the model is an encoder-decoder, whose layers share one mask.
    """
    own = getattr(base.model, "prefix", None)
    config: Any = getattr(model, "active_peft_config", None)
    n = own.layers().shape[3] if isinstance(own, Prefix) else 0
    if getattr(config, "peft_type", None) == peft.PeftType.PREFIX_TUNING:
        n = config.num_virtual_tokens
    if n and cast("Any", base.model.config).is_encoder_decoder:
        raise NotApplicable("a prefix can't be switched off in single layers of this model")
    return n


def _hide(block: nn.Module, n: int) -> Any:
    """Hide the first n keys from a block's attention; return the hook's handle."""
    order = [*inspect.signature(block.forward).parameters]

    def mask(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = dict(zip(order, args, strict=False)) | kwargs
        seq = named["hidden_states"].shape[1]
        seen = _hidden(named.get("attention_mask"), n, seq, named["hidden_states"].device)
        at = order.index("attention_mask")
        if len(args) > at:
            return (*args[:at], seen, *args[at + 1 :]), kwargs
        return args, kwargs | {"attention_mask": seen}

    return block.register_forward_pre_hook(mask, with_kwargs=True)


def _hidden(mask: Any, n: int, seq: int, device: torch.device) -> torch.Tensor:
    """Return the mask without the first n keys, shape (batch, 1, seq, n + seq).

    Raises:
        NotApplicable: the mask is of another kind, as of a compiled attention.
    """
    if mask is None:  # causal, of rows without padding
        mask = torch.ones(1, 1, seq, n + seq, dtype=torch.bool, device=device).tril(n)
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4:
        raise NotApplicable("this model's attention masks can't be changed for single layers")
    mask = mask.clone()
    mask[..., :n] = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    return mask

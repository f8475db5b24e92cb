"""States below the lowest trained block, computed once for each row of the training data.

A method that trains the top of a model leaves the blocks below as they are: what they give for a
row never changes, in whichever epoch or run the row comes. Rows are read in groups of about one
length that the data alone decide, so that no state depends on the order of training, and held;
training then begins at the lowest trained block. The function that is computed is the same; sums
are rounded in another order.
"""

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from peftlens.data.collate import Collator, TokenizedAnswer, length, scoring_batches
from peftlens.errors import InputError
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.partial_forward import stopped_after

MOST = 2**30  # bytes of states in memory; more go to a temporary file


@dataclass
class StateStore:
    """States of rows: in memory up to a bound, on disk beyond.

    Attributes:
        most: bytes in memory.
    """

    most: int
    _bytes: int = 0
    _near: dict[TokenizedAnswer, torch.Tensor] = field(default_factory=dict)
    _far: dict[TokenizedAnswer, tuple[int, torch.Size, torch.dtype]] = field(default_factory=dict)
    _file: Any = None

    def __contains__(self, row: TokenizedAnswer) -> bool:
        return row in self._near or row in self._far

    def __getitem__(self, row: TokenizedAnswer) -> torch.Tensor:
        """States of a row, shape (T, d)."""
        return self._near[row] if row in self._near else self._read(*self._far[row])

    def __setitem__(self, row: TokenizedAnswer, states: torch.Tensor) -> None:
        if self._bytes + states.nbytes <= self.most:
            self._near[row] = states
            self._bytes += states.nbytes
        else:
            self._far[row] = self._write(states.cpu().contiguous())

    def _write(self, states: torch.Tensor) -> tuple[int, torch.Size, torch.dtype]:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as this does
            weakref.finalize(self, self._file.close)
        at = self._file.seek(0, 2)
        self._file.write(states.view(torch.uint8).numpy().tobytes())
        return at, states.shape, states.dtype

    def _read(self, at: int, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        self._file.seek(at)
        data = bytearray(self._file.read(shape.numel() * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


@dataclass(frozen=True)
class FrozenBlockCache:
    """The blocks below the lowest trained one of a model that a method was attached to.

    Attributes:
        base: whose modules they are.
        names: of the blocks, lowest first; none where training reaches the bottom.
        encoder: makes batches of rows.
        groups: of the rows that are read together, by each of them.
        held: what the blocks gave.
    """

    base: BaseModel
    names: tuple[str, ...]
    encoder: Collator
    groups: Mapping[TokenizedAnswer, Sequence[TokenizedAnswer]]
    held: StateStore

    @classmethod
    def of(
        cls,
        base: BaseModel,
        model: nn.Module,
        before: "BlockFingerprint",
        encoder: Collator,
        rows: Sequence[TokenizedAnswer],
    ) -> "FrozenBlockCache":
        """Find them.

        Args:
            base: the base model, with a method attached.
            model: what the method's `attach` gave.
            before: `Shape.of(base)` from before it was attached.
            encoder: of the training.
            rows: all that it may read.
        """
        depth = _depth(base, model, before)
        known = sorted({*rows}, key=lambda row: (row.prompt, row.answer)) if depth else []
        batches = scoring_batches(known, encoder.at_once)
        groups = [[known[index] for index in batch] for batch in batches]
        held = base.derived(
            "states of frozen blocks", lambda: StateStore(MOST), key=(depth, tuple(known))
        )
        by_row = {row: group for group in groups for row in group}
        return cls(base, before.names[:depth], encoder, by_row, held)

    @contextmanager
    def skipping(self, rows: Sequence[TokenizedAnswer]) -> Iterator[None]:
        """While the block lasts, a forward pass of this batch begins above the lower blocks."""
        for row in rows:
            if row not in self.held:
                self._read(self.groups[row])
        each = [self.held[row] for row in rows]
        width = max(map(len, each))
        states = each[0].new_zeros(len(each), width, each[0].shape[-1], device=self.base.device)
        for place, one in zip(states, each, strict=True):
            place[: len(one)] = one
        modules = [self.base.model.get_submodule(name) for name in self.names]
        own = [vars(module).get("forward") for module in modules]  # of a base on several devices
        for module in modules:
            module.forward = lambda *_, **__: states
        try:
            yield
        finally:
            for module, forward in zip(modules, own, strict=True):
                del module.forward
                if forward is not None:
                    module.forward = forward

    @torch.no_grad()
    def _read(self, group: Sequence[TokenizedAnswer]) -> None:
        inputs = self.encoder.batch(group).inputs
        with stopped_after(self.base.model, self.names[-1]) as run:
            states = run(**inputs, use_cache=False)
        for row, one in zip(group, states, strict=True):
            self.held[row] = one[: length(row)].clone()


@dataclass(frozen=True)
class BlockFingerprint:
    """What a base's blocks are made of, to see what a method has changed in them.

    Attributes:
        names: of the blocks, lowest first; none of an encoder-decoder, whose prompt is read apart.
        parts: of each block: its modules' identities, classes and numbers of hooks, and the
            identities of its parameters.
    """

    names: tuple[str, ...]
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, base: BaseModel) -> "BlockFingerprint":
        """Of a base that nothing is attached to."""
        try:
            names = () if base.model.config.is_encoder_decoder else tuple(blocks(base.shapes))
        except InputError:  # none that are numbered
            names = ()
        return cls(names, tuple(_parts(base.model.get_submodule(name)) for name in names))


def _parts(block: nn.Module) -> tuple[Any, ...]:
    modules = tuple(
        (
            id(module),
            type(module),
            sum(len(vars(module)[key]) for key in vars(module) if key.endswith("_hooks")),
        )
        for module in block.modules()
    )
    return modules, tuple(map(id, block.parameters()))


def _depth(base: BaseModel, model: nn.Module, before: BlockFingerprint) -> int:
    """How many blocks, from the bottom, are as they were and below all that is trained."""
    owned = [base.model.get_submodule(name) for name in before.names]
    depth = 0
    for block, parts in zip(owned, before.parts, strict=True):
        if _parts(block) != parts or any(p.requires_grad for p in block.parameters()):
            break
        depth += 1
    if depth == 0 or _gives_tuples(base, before.names[0]):
        return 0
    upper = {id(module) for block in owned[depth:] for module in block.modules()}
    below = [module for module in model.modules() if id(module) not in upper]
    if any(has_dropout(module) for module in below) or not _all_above(base, model, owned):
        return 0
    return depth


def has_dropout(module: nn.Module) -> bool:
    """Whether it draws what it forgets anew in every pass."""
    rates = (getattr(module, name, 0) for name in ("p", "dropout", "attention_dropout"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


@torch.no_grad()
def _gives_tuples(base: BaseModel, name: str) -> bool:
    """Older architectures' blocks return more than states; these are left alone."""
    seen: list[Any] = []
    handle = base.model.get_submodule(name).register_forward_hook(
        lambda _, __, output: seen.append(output)
    )
    try:
        base.model(**random_inputs(base.model, 1, 2), use_cache=False)
    finally:
        handle.remove()
    return not isinstance(seen[0], torch.Tensor)


@torch.no_grad()
def _all_above(base: BaseModel, model: nn.Module, owned: Sequence[nn.Module]) -> bool:
    """Whether what is trained outside of the blocks is asked for behind the last of them alone."""
    inside = {id(p) for block in owned for p in block.parameters()}
    owners = [
        module
        for module in model.modules()
        if any(
            p is not None and p.requires_grad and id(p) not in inside
            for p in module._parameters.values()
        )
    ]
    calls: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda module, _: calls.append(module))
        for module in [*owners, owned[-1]]
    ]
    try:
        training = model.training
        model.eval()(**random_inputs(base.model, 1, 2))
        model.train(training)
    finally:
        for handle in handles:
            handle.remove()
    last = calls.index(owned[-1])
    return all(owner in calls and calls.index(owner) > last for owner in owners)

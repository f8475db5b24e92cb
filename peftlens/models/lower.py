"""States below the lowest trained block, computed once for each row of the training data.

A method that trains the top of a model leaves the blocks below as they are: what they give for a
row never changes, in whichever epoch, run or batch the row comes. Each row is read by itself, so
that its states do not depend on its company, and held; training then begins at the lowest trained
block. The function that is computed is the same; sums are rounded in another order.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from peftlens.anatomy import blocks
from peftlens.errors import BadInput
from peftlens.models.base import Base
from peftlens.models.halting import stopped_after
from peftlens.models.merging import random_inputs

MOST = 2**30  # bytes of states in memory; more go to a temporary file
_HELD: dict[tuple[str, str, str, int], "Held"] = {}


@dataclass
class Held:
    """States of rows: in memory up to a bound, on disk beyond.

    Attributes:
        most: bytes in memory.
    """

    most: int
    _bytes: int = 0
    _near: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)
    _far: dict[tuple[int, ...], tuple[int, torch.Size, torch.dtype]] = field(default_factory=dict)
    _file: Any = None

    def get(self, ids: tuple[int, ...], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """States of a row, shape (T, d), on the CPU or where they were made."""
        if ids in self._near:
            return self._near[ids]
        if ids in self._far:
            return self._read(*self._far[ids])
        made = make()
        if self._bytes + made.nbytes <= self.most:
            self._near[ids] = made
            self._bytes += made.nbytes
        else:
            self._write(ids, made.cpu().contiguous())
        return made

    def close(self) -> None:
        """Give the disk's space back."""
        if self._file is not None:
            self._file.close()

    def _write(self, ids: tuple[int, ...], made: torch.Tensor) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as this does
        at = self._file.seek(0, 2)
        self._file.write(made.view(torch.uint8).numpy().tobytes())
        self._far[ids] = (at, made.shape, made.dtype)

    def _read(self, at: int, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        self._file.seek(at)
        data = bytearray(self._file.read(shape.numel() * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


def forget() -> None:
    """Hold nothing any more."""
    for held in _HELD.values():
        held.close()
    _HELD.clear()


@dataclass(frozen=True)
class Lower:
    """The blocks below the lowest trained one of a model that a method was attached to.

    Attributes:
        base: whose modules they are.
        names: of the blocks, lowest first; none where training reaches the bottom.
        held: what they gave.
    """

    base: Base
    names: tuple[str, ...]
    held: Held

    @classmethod
    def of(cls, base: Base, model: nn.Module, before: "Shape") -> "Lower":
        """Find them.

        Args:
            base: the resident one, with a method attached.
            model: what the method's `attach` gave.
            before: `Shape.of(base)` from before it was attached.
        """
        depth = _depth(base, model, before)
        key = (base.sha256, base.dtype, base.device, depth)
        if key not in _HELD:
            forget()  # one base at a time, like the resident one
            _HELD[key] = Held(MOST)
        return cls(base, before.names[:depth], _HELD[key])

    @contextmanager
    def given(self, rows: Sequence[Sequence[int]]) -> Iterator[None]:
        """While the block lasts, a forward pass of these rows begins above the lower blocks.

        Args:
            rows: token ids of each row of the batch, which is padded on the right.
        """
        each = [self.held.get(tuple(ids), lambda ids=ids: self._states(ids)) for ids in rows]
        width = max(map(len, each))
        states = each[0].new_zeros(len(each), width, each[0].shape[-1]).to(self.base.device)
        for place, one in zip(states, each, strict=True):
            place[: len(one)] = one.to(states.device)
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
    def _states(self, ids: Sequence[int]) -> torch.Tensor:
        row = torch.tensor([list(ids)], device=self.base.device)
        with stopped_after(self.base.model, self.names[-1]) as run:
            states = run(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False)
        return states[0].clone()


@dataclass(frozen=True)
class Shape:
    """What a base's blocks are made of, to see what a method has changed in them.

    Attributes:
        names: of the blocks, lowest first; none of an encoder-decoder, whose prompt is read apart.
        parts: of each block: its modules' identities, classes and numbers of hooks, and the
            identities of its parameters.
    """

    names: tuple[str, ...]
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, base: Base) -> "Shape":
        """Of a base that nothing is attached to."""
        try:
            names = () if base.model.config.is_encoder_decoder else tuple(blocks(base.shapes))
        except BadInput:  # none that are numbered
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


def _depth(base: Base, model: nn.Module, before: Shape) -> int:
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
    if any(_drops(module) for module in below) or not _all_above(base, model, owned):
        return 0
    return depth


def _drops(module: nn.Module) -> bool:
    """Whether it draws what it forgets anew in every pass."""
    rates = (getattr(module, name, 0) for name in ("p", "dropout", "attention_dropout"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


@torch.no_grad()
def _gives_tuples(base: Base, name: str) -> bool:
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
def _all_above(base: Base, model: nn.Module, owned: Sequence[nn.Module]) -> bool:
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

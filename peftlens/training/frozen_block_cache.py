"""Cache of hidden states below the first trainable block.

Frozen blocks give the same output for a row in every epoch and every run, so it is computed once,
and a forward pass in training starts at the first trainable block. Rows are computed in groups of
similar length that depend on the data alone, so that no state depends on the order of training. The
function is the same as without the cache; sums are rounded in another order.
"""

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from peftlens.data.collate import Collator, length, scoring_batches
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.models.architecture import blocks, has_dropout
from peftlens.models.base_model import BaseModel
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.partial_forward import returns_states_alone, stopped_after

MOST = 2**30  # bytes of states in memory; more go to a temporary file


@dataclass
class StateStore:
    """Store of hidden states by row: in memory up to a limit, on disk beyond.

    Attributes:
        most: limit of the states in memory, bytes.
    """

    most: int
    _bytes: int = 0
    _in_memory: dict[TokenizedAnswer, torch.Tensor] = field(default_factory=dict)
    _on_disk: dict[TokenizedAnswer, tuple[int, torch.Size, torch.dtype]] = field(
        default_factory=dict
    )
    _file: Any = None

    def __contains__(self, row: TokenizedAnswer) -> bool:
        return row in self._in_memory or row in self._on_disk

    def __getitem__(self, row: TokenizedAnswer) -> torch.Tensor:
        """Return the hidden states of a row, (seq, d)."""
        return self._in_memory[row] if row in self._in_memory else self._read(*self._on_disk[row])

    def __setitem__(self, row: TokenizedAnswer, states: torch.Tensor) -> None:
        if self._bytes + states.nbytes <= self.most:
            self._in_memory[row] = states
            self._bytes += states.nbytes
        else:
            self._on_disk[row] = self._write(states.cpu().contiguous())

    def _write(self, states: torch.Tensor) -> tuple[int, torch.Size, torch.dtype]:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the store
            weakref.finalize(self, self._file.close)
        offset = self._file.seek(0, 2)
        self._file.write(states.view(torch.uint8).numpy().tobytes())
        return offset, states.shape, states.dtype

    def _read(self, offset: int, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        self._file.seek(offset)
        data = bytearray(self._file.read(shape.numel() * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype).reshape(shape)


@dataclass(frozen=True)
class FrozenBlockCache:
    """Cache of the states after the frozen blocks at the bottom of a model.

    Attributes:
        base: base model of the run.
        names: names of the blocks, lowest first; none if the lowest block is trained.
        collator: collator of the training batches.
        groups: rows that are computed together with each row.
        held: store of the states.
    """

    base: BaseModel
    names: tuple[str, ...]
    collator: Collator
    groups: Mapping[TokenizedAnswer, Sequence[TokenizedAnswer]]
    held: StateStore

    @classmethod
    def of(
        cls,
        base: BaseModel,
        model: nn.Module,
        before: "BlockFingerprint",
        collator: Collator,
        rows: Sequence[TokenizedAnswer],
    ) -> "FrozenBlockCache":
        """Create the cache for the frozen blocks at the bottom of a model.

        Args:
            base: base model, with a method attached.
            model: result of the method's `attach`.
            before: fingerprint of the base before the method was attached.
            collator: collator of the training batches.
            rows: all training rows.
        """
        depth = _depth(base, model, before)
        ordered = sorted({*rows}, key=lambda row: (row.prompt, row.answer)) if depth else []
        batches = scoring_batches(ordered, collator.at_once)
        groups = [[ordered[index] for index in batch] for batch in batches]
        held = base.derived(
            "states of frozen blocks", lambda: StateStore(MOST), key=(depth, tuple(ordered))
        )
        by_row = {row: group for group in groups for row in group}
        return cls(base, before.names[:depth], collator, by_row, held)

    @contextmanager
    def skipping(self, rows: Sequence[TokenizedAnswer]) -> Iterator[None]:
        """Start forward passes of these rows above the frozen blocks, within a `with` block."""
        for row in rows:
            if row not in self.held:
                self._read(self.groups[row])
        by_row = [self.held[row].to(self.base.device) for row in rows]
        states = pad_sequence(by_row, batch_first=True)  # (batch, seq, d)
        modules = [self.base.model.get_submodule(name) for name in self.names]
        # accelerate replaces `forward` in a base model on several devices
        originals = [vars(module).get("forward") for module in modules]
        for module in modules:
            module.forward = lambda *_, **__: states
        try:
            yield
        finally:
            for module, forward in zip(modules, originals, strict=True):
                del module.forward
                if forward is not None:
                    module.forward = forward

    @torch.no_grad()
    def _read(self, group: Sequence[TokenizedAnswer]) -> None:
        inputs = self.collator.batch(group).inputs
        with stopped_after(self.base.model, self.names[-1]) as run:
            states = run(**inputs, use_cache=False)
        for row, padded in zip(group, states, strict=True):
            self.held[row] = padded[: length(row)].clone()


@dataclass(frozen=True)
class BlockFingerprint:
    """Fingerprint of a base's blocks, to see which of them a method changes.

    Attributes:
        names: names of the blocks, lowest first; none for an encoder-decoder, whose encoder reads
            the prompt.
        parts: for each block, identity, class and number of hooks of its modules, and identities
            of its parameters.
    """

    names: tuple[str, ...]
    parts: tuple[Any, ...]

    @classmethod
    def of(cls, base: BaseModel) -> "BlockFingerprint":
        """Take the fingerprint of a base without a method attached."""
        try:
            names = () if base.model.config.is_encoder_decoder else tuple(blocks(base.shapes))
        except InputError:  # no numbered blocks
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
    """Count the blocks at the bottom that are unchanged and below all trained parameters."""
    modules = [base.model.get_submodule(name) for name in before.names]
    depth = 0
    for block, parts in zip(modules, before.parts, strict=True):
        if _parts(block) != parts or any(p.requires_grad for p in block.parameters()):
            break
        depth += 1
    if depth == 0 or not returns_states_alone(base.model, before.names[0]):
        return 0
    upper = {id(module) for block in modules[depth:] for module in block.modules()}
    below = [module for module in model.modules() if id(module) not in upper]
    if any(has_dropout(module) for module in below) or not _all_above(base, model, modules):
        return 0
    return depth


@torch.no_grad()
def _all_above(base: BaseModel, model: nn.Module, block_modules: Sequence[nn.Module]) -> bool:
    """Whether trained parameters outside of the blocks are used only after the last block."""
    inside = {id(p) for block in block_modules for p in block.parameters()}
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
        for module in [*owners, block_modules[-1]]
    ]
    try:
        training = model.training
        model.eval()(**random_inputs(base.model, 1, 2))
        model.train(training)
    finally:
        for handle in handles:
            handle.remove()
    last = calls.index(block_modules[-1])
    return all(owner in calls and calls.index(owner) > last for owner in owners)

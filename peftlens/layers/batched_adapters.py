"""Parts that several runs train at the same modules of one base, computed in one pass over it.

A batch holds the rows of the first run, then those of the second, as many of each. The base reads
them all at once; what a run trains sees that run's rows only. Ranks and bottlenecks of unequal size
are filled up with zeros, which get no gradient. The function is each run's own; sums are rounded in
another order.

Source of the idea: Ye et al. 2023, arXiv:2312.02515 (ASPEN, later mLoRA), BatchFusion, for LoRA.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from peftlens.layers.bottleneck import Bottleneck, change_output
from peftlens.layers.prepend import prepend_vectors


class BatchedPart:
    """What one run trains at one module of the base."""

    @classmethod
    @abstractmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Have the module of the base do what the parts of all runs do to their rows.

        Args:
            module: of the base; it gets hooks.
            now: the parts, a run each; none while the base is to be as it was.
        """

    @abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained of it, in an order that depends on its kind alone."""


@dataclass(frozen=True)
class LowRankUpdate(BatchedPart):
    """(scale) B A beside a linear layer.

    Attributes:
        a: (r, d_in).
        b: (d_out, r).
        scale: dimensionless.
    """

    a: nn.Parameter
    b: nn.Parameter
    scale: float

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Add every run's product to its rows of the output."""

        def add(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
            if not (parts := now()):
                return None
            a, b = _filled([part.a for part in parts]), _filled([part.b.T for part in parts])
            scale = a.new_tensor([part.scale for part in parts])[:, None, None]
            update = _by_run(args[0], parts).to(a.dtype) @ a.mT @ b * scale
            return (output + update.view_as(output)).to(output.dtype)

        module.register_forward_hook(add)

    def parameters(self) -> list[nn.Parameter]:
        """A, B."""
        return [self.a, self.b]


@dataclass(frozen=True)
class ParallelBottleneck(BatchedPart):
    """A bottleneck behind a module."""

    bottleneck: Bottleneck

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Add what every run's bottleneck gives to its rows of the output."""

        def add(hidden: torch.Tensor) -> torch.Tensor:
            if not (parts := now()):
                return hidden
            each = [part.bottleneck for part in parts]
            inner = _by_run(hidden, parts).float() @ _filled([one.down.weight for one in each]).mT
            inner = torch.relu(inner + _filled([one.down.bias for one in each])[:, None])
            up = inner @ _filled([one.up.weight.T for one in each])
            up = up + torch.stack([one.up.bias for one in each])[:, None]
            return hidden + up.view_as(hidden).to(hidden.dtype)

        change_output(module, add)

    def parameters(self) -> list[nn.Parameter]:
        """Weight and bias, down and up."""
        return list(self.bottleneck.parameters())


@dataclass(frozen=True)
class RescaledActivations(BatchedPart):
    """A vector that the input or the output of a linear layer is multiplied by.

    Attributes:
        by: (d).
        inner: whether the input is.
    """

    by: nn.Parameter
    inner: bool

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Multiply every run's rows by its vector."""

        def rescaled(states: torch.Tensor, parts: Sequence[Any]) -> torch.Tensor:
            by = torch.stack([part.by.flatten() for part in parts])[:, None]
            return (_by_run(states, parts) * by).view_as(states).to(states.dtype)

        def before(_: nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
            parts = now()
            return (rescaled(args[0], parts), *args[1:]) if parts and parts[0].inner else None

        def after(_: nn.Module, __: Any, output: torch.Tensor) -> Any:
            parts = now()
            return rescaled(output, parts) if parts and not parts[0].inner else None

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def parameters(self) -> list[nn.Parameter]:
        """The vector."""
        return [self.by]


@dataclass(frozen=True)
class NormScale(BatchedPart):
    """A normalization's own gain and, where it has one, bias, each (d).

    Attributes:
        norm: the run's copy of the normalization.
    """

    norm: nn.Module

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Have the normalization find every run's values in the place of its own.

        Classes of transformers use them by operators that broadcast, each in a formula of its own;
        torch's LayerNorm does not, and so it gets none and what it gives is rescaled.
        """
        fused = isinstance(module, (nn.LayerNorm, nn.RMSNorm))
        names = [name for name, _ in module.named_parameters(recurse=False)]

        def before(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            parts = now()
            for name in names if parts else ():
                each = torch.stack([getattr(part.norm, name) for part in parts])
                rows = each.repeat_interleave(len(args[0]) // len(parts), dim=0)
                shape = (len(rows), *[1] * (args[0].dim() - 2), rows.shape[1])
                vars(module)[name] = None if fused else rows.view(shape)
                vars(module)[f"_all_{name}"] = rows.view(shape)

        def after(_: nn.Module, __: Any, output: torch.Tensor) -> Any:
            if not now():
                return None
            found = {name: vars(module).pop(f"_all_{name}") for name in names}
            for name in found:
                del vars(module)[name]
            if not fused:
                return None
            output = output * found["weight"]
            return output + found["bias"] if "bias" in found else output

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def parameters(self) -> list[nn.Parameter]:
        """Gain, bias."""
        return list(self.norm.parameters())


@dataclass(frozen=True)
class PrependedVectors(BatchedPart):
    """Vectors in front of the input's embeddings.

    Attributes:
        vectors: (n, d).
    """

    vectors: nn.Parameter

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Put every run's vectors before its rows; the module is the whole model."""
        model: Any = module

        def leading(rows: int) -> torch.Tensor | None:
            if not (parts := now()):
                return None
            vectors = torch.stack([part.vectors for part in parts])
            return vectors.repeat_interleave(rows // len(parts), dim=0)

        prepend_vectors(model, leading)

    def parameters(self) -> list[nn.Parameter]:
        """The vectors."""
        return [self.vectors]


class AdapterBatch:
    """Base model to whose modules the parts of several runs can be applied.

    Args:
        model: the base; it gets hooks, which do nothing outside of `applied`.
        parts: the parts of any of the runs, by the dotted names of their modules.
    """

    def __init__(self, model: nn.Module, parts: Mapping[str, BatchedPart]) -> None:
        self._runs: Sequence[Mapping[str, BatchedPart]] = ()
        for name, part in parts.items():
            part.join(model.get_submodule(name), partial(self._applied_to, name))

    def _applied_to(self, name: str) -> list[Any]:
        return [parts[name] for parts in self._runs]

    @contextmanager
    def applied(self, runs: Sequence[Mapping[str, BatchedPart]]) -> Iterator[None]:
        """Within the block, apply each run's parts to its rows of a batch."""
        self._runs = runs
        try:
            yield
        finally:
            self._runs = ()


def _by_run(states: torch.Tensor, parts: Sequence[BatchedPart]) -> torch.Tensor:
    """Shape (rows, ..., d), runs one after another, to (runs, rows of a run and positions, d)."""
    return states.reshape(len(parts), -1, states.shape[-1])


def _filled(each: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of tensors that differ in their first size, with zeros behind the shorter."""
    return pad_sequence(list(each), batch_first=True)

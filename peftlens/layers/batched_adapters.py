"""Batched adapters: trainable parts of several runs, computed in one pass over the base model.

A batch holds the rows of the first run, then as many rows of the second, and so on. The base model
reads all rows at once; the parts of a run see only that run's rows. Ranks and bottlenecks of
unequal size are padded with zeros, which get no gradient. Each run computes the same function as
alone, up to the order in which sums are rounded.

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
    """Trainable part of one run at one module of the base model."""

    @classmethod
    @abstractmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Hook a module of the base model so that each run's part acts on that run's rows.

        Args:
            module: module of the base model; it gets hooks.
            now: returns the current parts, one per run; none while adapters are off.
        """

    @abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """Return its trainable parameters, in an order that depends only on the class."""


@dataclass(frozen=True)
class LowRankUpdate(BatchedPart):
    """LoRA's update of a linear layer, scale B A.

    Attributes:
        a: A, shape (r, d_in).
        b: B, shape (d_out, r).
        scale: factor on the product; dimensionless.
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
            a = _filled([part.a for part in parts])  # (runs, r, d_in)
            b = _filled([part.b.T for part in parts])  # (runs, r, d_out)
            scale = a.new_tensor([part.scale for part in parts])[:, None, None]
            # (runs, rows x seq, d_in) to (runs, rows x seq, d_out)
            update = _by_run(args[0], parts).to(a.dtype) @ a.mT @ b * scale
            return (output + update.view_as(output)).to(output.dtype)

        module.register_forward_hook(add)

    def parameters(self) -> list[nn.Parameter]:
        """Return A and B."""
        return [self.a, self.b]


@dataclass(frozen=True)
class ParallelBottleneck(BatchedPart):
    """A bottleneck after a module, with a residual sum."""

    bottleneck: Bottleneck

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Add the output of every run's bottleneck to its rows of the module's output."""

        def add(hidden: torch.Tensor) -> torch.Tensor:
            if not (parts := now()):
                return hidden
            each = [part.bottleneck for part in parts]
            # (runs, rows x seq, d) to (runs, rows x seq, m)
            inner = _by_run(hidden, parts).float() @ _filled([one.down.weight for one in each]).mT
            inner = torch.relu(inner + _filled([one.down.bias for one in each])[:, None])
            up = inner @ _filled([one.up.weight.T for one in each])
            up = up + torch.stack([one.up.bias for one in each])[:, None]
            return hidden + up.view_as(hidden).to(hidden.dtype)

        change_output(module, add)

    def parameters(self) -> list[nn.Parameter]:
        """Return weights and biases of the down- and up-projection."""
        return list(self.bottleneck.parameters())


@dataclass(frozen=True)
class RescaledActivations(BatchedPart):
    """A vector that multiplies the input or the output of a linear layer.

    Attributes:
        by: the vector, shape (d,).
        inner: whether it multiplies the input instead of the output.
    """

    by: nn.Parameter
    inner: bool

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Multiply every run's rows by its vector."""

        def rescaled(states: torch.Tensor, parts: Sequence[Any]) -> torch.Tensor:
            by = torch.stack([part.by.flatten() for part in parts])[:, None]  # (runs, 1, d)
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
        """Return the vector."""
        return [self.by]


@dataclass(frozen=True)
class NormScale(BatchedPart):
    """Gain and, if any, bias of a normalization, each of shape (d,).

    Attributes:
        norm: the run's copy of the normalization module.
    """

    norm: nn.Module

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Replace the normalization's gain and bias by those of every run during the forward pass.

        Classes of transformers apply them by broadcasting operators, in various formulas; torch's
        LayerNorm does not broadcast, so it gets none and its output is rescaled instead.
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
            values = {name: vars(module).pop(f"_all_{name}") for name in names}
            for name in values:
                del vars(module)[name]
            if not fused:
                return None
            output = output * values["weight"]
            return output + values["bias"] if "bias" in values else output

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def parameters(self) -> list[nn.Parameter]:
        """Return gain and bias."""
        return list(self.norm.parameters())


@dataclass(frozen=True)
class PrependedVectors(BatchedPart):
    """Vectors in front of the input's embeddings.

    Attributes:
        vectors: the trained vectors, shape (n, d).
    """

    vectors: nn.Parameter

    @classmethod
    def join(cls, module: nn.Module, now: Callable[[], Sequence[Any]]) -> None:
        """Prepend every run's vectors to its rows; the module is the whole model."""
        model: Any = module

        def leading(rows: int) -> torch.Tensor | None:
            if not (parts := now()):
                return None
            vectors = torch.stack([part.vectors for part in parts])  # (runs, n, d)
            return vectors.repeat_interleave(rows // len(parts), dim=0)

        prepend_vectors(model, leading)

    def parameters(self) -> list[nn.Parameter]:
        """Return the vectors."""
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
    """Reshape (rows, ..., d), sorted by run, to (runs, rows per run x positions, d)."""
    return states.reshape(len(parts), -1, states.shape[-1])


def _filled(each: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack tensors that differ in their first dimension, padding the shorter with zeros."""
    return pad_sequence(list(each), batch_first=True)

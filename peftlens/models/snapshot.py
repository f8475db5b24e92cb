"""Snapshot of the shared base model: restore it after changes, and verify that it is unchanged."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Snapshot:
    """References to a model's modules and parameters at one moment; no weight is copied.

    Attributes:
        modules: every module with its class and attributes.
        parameters: every parameter with its data and its `requires_grad` flag.
    """

    modules: list[tuple[nn.Module, type, dict[str, Any]]]
    parameters: list[tuple[nn.Parameter, torch.Tensor, bool]]

    @classmethod
    def of(cls, model: nn.Module) -> "Snapshot":
        """Take a snapshot of the model."""
        modules = [
            (
                module,
                module.__class__,
                {key: _shallow(value) for key, value in vars(module).items()},
            )
            for module in model.modules()
        ]
        return cls(modules, [(p, p.data, p.requires_grad) for p in model.parameters()])

    def restore(self) -> None:
        """Restore the model to the snapshot."""
        for module, kind, attributes in self.modules:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update({key: _shallow(value) for key, value in attributes.items()})
        for parameter, data, flag in self.parameters:
            parameter.data = data
            parameter.requires_grad_(flag)
            parameter.grad = None


@contextmanager
def restored_after(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Restore the model's modules, parameters, hooks and flags after the block.

    Methods replace modules (peft), add modules and hooks (adapters), replace parameters (selective
    methods) and assign other data to parameters (PiSSA). The weights are safe as long as no code
    writes into the original tensors: see `architecture.thaw`.
    """
    before = Snapshot.of(model)
    try:
        yield model
    finally:
        before.restore()


@contextmanager
def with_weights(
    model: PreTrainedModel, weights: Mapping[str, torch.Tensor]
) -> Iterator[PreTrainedModel]:
    """Let a model have other weights for the duration of the block.

    Args:
        model: the model.
        weights: values by the names of parameters; a tied one may be given by either name, and the
            other keeps its value.
    """
    with restored_after(model):
        for name, values in weights.items():
            layer, _, last = name.rpartition(".")
            # a new parameter, because a tied weight may be unchanged
            setattr(model.get_submodule(layer), last, nn.Parameter(values, requires_grad=False))
        yield model


def _shallow(value: object) -> object:
    """Copy a module's dictionaries and sets, so that later entries do not reach the snapshot.

    bitsandbytes keeps 8-bit weights in an object of its own, whose entries change as well.
    """
    if isinstance(value, (dict, set)):
        return value.copy()
    return copy(value) if type(value).__name__ == "MatmulLtState" else value


def fingerprint(model: PreTrainedModel) -> str:
    """Hash everything in a model that a method could change (SHA-256, hexadecimal).

    Covers names, classes, hooks, training flags, dtypes, the configuration and every byte of the
    weights; 0.3 s for 135M parameters in bfloat16.
    """
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, module in model.named_modules():
        hooks = [len(vars(module)[key]) for key in sorted(vars(module)) if key.endswith("_hooks")]
        digest.update(f"{name} {type(module).__qualname__} {module.training} {hooks}".encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tensor.requires_grad}".encode())
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(data.numpy().data)
    return digest.hexdigest()

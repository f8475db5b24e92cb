"""Hooks: the functions by which a method takes part in the training loop."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class MethodHooks:
    """Optional functions by which a method takes part in the loop; see methods/__init__.py."""

    optimizer: Callable[[float, float], torch.optim.Optimizer] | None = None
    regularization_loss: Callable[[], torch.Tensor] | None = None
    after_step: Callable[[int, int], None] | None = None
    training_state: Callable[[], dict[str, Any]] | None = None
    load_training_state: Callable[[dict[str, Any]], None] | None = None

    @classmethod
    def of(cls, method: ModuleType, method_config: Any, model: nn.Module) -> "MethodHooks":
        """Bind a method's functions to the model that it is attached to."""
        hooks = (getattr(method, field.name, None) for field in fields(cls))
        return cls(*(hook and partial(hook, model, method_config) for hook in hooks))

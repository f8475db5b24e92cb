"""Optimizer of one run: gradient clipping, learning-rate schedule, steps in float32."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from peftlens.runs.config import TrainingConfig
from peftlens.training.master_weights import MasterWeights
from peftlens.training.orthogonal_steps import Projection


class DivergenceError(Exception):
    """The loss or its gradient is not finite, so that further steps are useless.

    Attributes:
        steps: number of steps taken before.
    """

    def __init__(self, steps: int) -> None:
        super().__init__(f"diverged after {steps} steps")
        self.steps = steps


def adamw(parameters: Sequence[nn.Parameter], **options: Any) -> torch.optim.AdamW:
    """Return AdamW, on a CPU in one pass over all weights.

    Full fine-tuning takes an eighth of the time there that torch's default, an operation after the
    other, takes; on a GPU the default is fast.
    """
    fused = True if all(parameter.device.type == "cpu" for parameter in parameters) else None
    return torch.optim.AdamW(parameters, fused=fused, **options)


class OptimizerStep:
    """Optimizer, schedule and gradient clipping of a run.

    Args:
        parameters: parameters of the model; frozen ones are ignored.
        config: learning rate, schedule, weight decay and largest norm of the gradient.
        make: factory of the optimizer, from learning rate and weight decay; by default AdamW over
            all trained parameters.
        projection: projection of the gradients and of the steps; None to leave both as they are.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: TrainingConfig,
        make: Callable[[float, float], torch.optim.Optimizer] | None = None,
        projection: Projection | None = None,
    ) -> None:
        rate, decay = config.learning_rate or 0.0, config.weight_decay
        self._config = config
        self._projection = projection
        self._masters = MasterWeights(parameters)
        trained = self._masters.trained
        self._optimizer = make(rate, decay) if make else adamw(trained, lr=rate, weight_decay=decay)
        self._scheduler = get_scheduler(
            "constant_with_warmup"
            if config.lr_scheduler_type == "constant"
            else config.lr_scheduler_type,
            self._optimizer,
            num_warmup_steps=round(config.warmup_ratio * config.max_steps),
            num_training_steps=config.max_steps,
        )

    def step(self, step: int, loss: float) -> dict[str, float]:
        """Take a step by the accumulated gradients and return its metrics.

        Args:
            step: number of the step, from 1.
            loss: loss of the gradients, nats.

        Raises:
            DivergenceError: the loss or a gradient is not finite; the step is not taken.
        """
        if self._projection:
            self._projection.apply([p.grad for p in self._masters.trained if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(self._masters.trained, self._config.max_grad_norm).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise DivergenceError(step - 1)
        rate = float(self._scheduler.get_last_lr()[0])
        self._take_step()
        self._scheduler.step()
        self._masters.write_back()
        return {"step": step, "loss": loss, "learning_rate": rate, "grad_norm": norm}

    def _take_step(self) -> None:
        if self._projection is None:
            self._optimizer.step()
            return
        with torch.no_grad():
            before = [p.clone() for p in self._masters.trained]
            self._optimizer.step()
            changes = [p - b for p, b in zip(self._masters.trained, before, strict=True)]
            self._projection.apply(changes)
            for parameter, start, change in zip(
                self._masters.trained, before, changes, strict=True
            ):
                parameter.copy_(start + change)

    def state_dict(self) -> dict[str, Any]:
        """Return all that further steps depend on: weights, and states of optimizer and schedule.

        The weights are those that the optimizer steps on: float32 copies where there are any.
        """
        packed = self._optimizer.state_dict()
        return {
            "weights": [weight.detach() for weight in self._masters.trained],
            "state": packed["state"],
            "groups": [_without_parameters(group) for group in packed["param_groups"]],
            "schedule": self._scheduler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another optimizer of the same model and configuration."""
        with torch.no_grad():
            for weight, value in zip(self._masters.trained, state["weights"], strict=True):
                weight.copy_(value)
        self._masters.write_back()
        groups = self._optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        # not by torch's load_state_dict, which casts the state to the dtype of the parameters
        for key, values in state["state"].items():
            self._optimizer.state[parameters[key] if isinstance(key, int) else key] = values
        for group, values in zip(groups, state["groups"], strict=True):
            group.update(values)
        self._scheduler.load_state_dict(state["schedule"])

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self._optimizer.zero_grad()

    @property
    def gradient_bytes(self) -> int:
        """Size of the accumulated gradients."""
        return sum(p.grad.nbytes for p in self._masters.trained if p.grad is not None)

    @property
    def state_bytes(self) -> int:
        """Size of the optimizer's state and of the float32 copies of weights."""
        return self._masters.bytes + sum(
            value.nbytes for state in self._optimizer.state.values() for value in state.values()
            if isinstance(value, torch.Tensor)
        )  # fmt: skip


def _without_parameters(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}

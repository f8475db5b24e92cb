"""The optimizer of one run: clipped gradients, its own rate and schedule, steps in float32."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from transformers import get_scheduler

from peftlens.runs.config import TrainingConfig
from peftlens.training.master_weights import MasterWeights


class DivergenceError(Exception):
    """The loss, or its gradient, is not finite; training on would change nothing but the clock."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"diverged after {steps} steps")
        self.steps = steps


class OptimizerStep:
    """Takes a run's steps.

    Args:
        parameters: of the model; those that are frozen are let be.
        config: rate, schedule, decay, where gradients are clipped.
        make: makes the optimizer of a rate and a decay, instead of AdamW over all that is trained.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: TrainingConfig,
        make: Callable[[float, float], torch.optim.Optimizer] | None = None,
    ) -> None:
        rate, decay = config.learning_rate or 0.0, config.weight_decay
        self._config = config
        self._masters = MasterWeights(parameters)
        self._optimizer = (
            make(rate, decay)
            if make
            else torch.optim.AdamW(self._masters.trained, lr=rate, weight_decay=decay)
        )
        self._scheduler = get_scheduler(
            "constant_with_warmup"
            if config.lr_scheduler_type == "constant"
            else config.lr_scheduler_type,
            self._optimizer,
            num_warmup_steps=round(config.warmup_ratio * config.max_steps),
            num_training_steps=config.max_steps,
        )

    def step(self, step: int, loss: float) -> dict[str, float]:
        """Take a step by the gradients that are there; returns what the run's metrics say of it.

        Args:
            step: counted from 1.
            loss: that they are of, nats.

        Raises:
            DivergenceError: it or a gradient is not finite; the step is not taken.
        """
        norm = nn.utils.clip_grad_norm_(self._masters.trained, self._config.max_grad_norm).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise DivergenceError(step - 1)
        rate = float(self._scheduler.get_last_lr()[0])
        self._optimizer.step()
        self._scheduler.step()
        self._masters.write_back()
        return {"step": step, "loss": loss, "learning_rate": rate, "grad_norm": norm}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad()

    @property
    def state_bytes(self) -> int:
        """What is held beside the weights."""
        return self._masters.bytes + sum(
            value.nbytes for held in self._optimizer.state.values() for value in held.values()
            if isinstance(value, torch.Tensor)
        )  # fmt: skip

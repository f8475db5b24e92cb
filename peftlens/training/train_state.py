"""State of one run in training: its parameters, rows, hooks and results."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn

from peftlens.data.tokenization import TokenizedAnswer
from peftlens.training.data_loader import TrainingLoader
from peftlens.training.keep import KeepTerm
from peftlens.training.method_hooks import MethodHooks
from peftlens.training.optimizer import DivergenceError, OptimizerStep
from peftlens.training.preference_loss import PreferencePairs
from peftlens.training.run_plan import RunPlan
from peftlens.training.run_writer import RunWriter


@dataclass(eq=False, kw_only=True)
class TrainState:
    """State of one run in training.

    Attributes:
        planned: plan of the run.
        writer: writer of the run's folder.
        parameters: trained parameters of the run.
        batches: iterator over optimizer steps: the rows of each forward pass.
        open_model: opens the run's own model with its current weights.
        results: results so far.
        hooks: functions of the method in the loop.
        diverged: whether training stopped at a value that is not finite.
        pairs: pairs of preferences; None where right answers are trained by themselves.
        keep: what keeps the run near its base; None for nothing.
    """

    planned: RunPlan
    writer: RunWriter
    parameters: Sequence[nn.Parameter]
    batches: Iterator[list[list[TokenizedAnswer]]]
    open_model: Callable[[], AbstractContextManager[nn.Module]]
    results: dict[str, Any]
    hooks: MethodHooks = field(default_factory=MethodHooks)
    diverged: bool = False
    pairs: PreferencePairs | None = None
    keep: KeepTerm | None = None

    @classmethod
    def of_single_run(  # noqa: PLR0913  # each is a part of the state
        cls,
        planned: RunPlan,
        writer: RunWriter,
        model: nn.Module,
        loader: TrainingLoader,
        results: dict[str, Any],
        pairs: PreferencePairs | None = None,
        keep: KeepTerm | None = None,
    ) -> "TrainState":
        """Create the state of a run whose method is attached to the base itself."""
        return cls(
            planned=planned,
            writer=writer,
            parameters=[p for p in model.parameters() if p.requires_grad],
            batches=loader.steps(planned.config.seed),
            open_model=lambda: nullcontext(model),
            results=results,
            hooks=MethodHooks.of(planned.method, planned.method_config, model),
            pairs=pairs,
            keep=keep,
        )

    def weight(self, rows: Iterable[TokenizedAnswer]) -> int:
        """Count what a step's loss is the mean of: scored tokens, or pairs."""
        return sum(1 if self.pairs else row.scored for row in rows)

    @cached_property
    def optimizer(self) -> OptimizerStep:
        """Optimizer of the run's parameters."""
        projection = self.keep.projection if self.keep else None
        training = self.planned.config.training
        return OptimizerStep(self.parameters, training, self.hooks.optimizer, projection)

    def create_optimizer(self) -> None:
        """Create the optimizer before the first backward pass.

        Its copies of low-precision weights take their gradients by hooks.
        """
        _ = self.optimizer

    def free_optimizer(self) -> None:
        """Free the memory of the optimizer."""
        vars(self).pop("optimizer", None)

    def step(self, step: int, loss: float) -> dict[str, Any]:
        """Take an optimizer step and return its metrics, empty if the run diverges here."""
        try:
            metrics = self.optimizer.step(step, loss)
        except DivergenceError as error:
            self.diverged, self.results["steps"] = True, error.steps
            self.free_optimizer()
            return {}
        if self.hooks.after_step:
            self.hooks.after_step(step, self.planned.config.training.max_steps)
        self.optimizer.zero_grad()
        value = self.keep.value if self.keep else None
        return metrics if value is None else metrics | {"keep_loss": value}

    def log(self, metrics: dict[str, Any], tokens: int, seconds: float) -> None:
        """Write a step's lines at the first step, the last, and every `logging_steps` steps."""
        step, config = metrics["step"], self.planned.config.training
        if step % config.logging_steps == 0 or step in (1, config.max_steps):
            self.writer.log_metrics(metrics | {"tokens": tokens})
            self.writer.log_timing(
                {"step": step, "seconds": seconds, "tokens_per_second": tokens / seconds}
            )

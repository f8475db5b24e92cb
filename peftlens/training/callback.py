"""Callback for transformers' Trainer and its subclasses that records the training as a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from peftlens.runs.run import Run
from peftlens.training.tracked_task import tracked_task
from peftlens.training.tracker import PROBES, Tracker, errors_logged, track

if TYPE_CHECKING:
    from peftlens.io.rows import Rows


class PeftLensCallback(TrainerCallback):
    """Callback that tracks transformers' Trainer, including TRL's, as `track` tracks a loop.

    Example:
        ```python
        trainer = Trainer(model, callbacks=[pl.PeftLensCallback("runs")])
        callback = pl.PeftLensCallback("runs", task=rows)  # held out, in a layout of TRL's
        trainer = trl.DPOTrainer(model, callbacks=[callback], train_dataset=others)
        ```

    Attributes:
        run: the finished run; None before the end and after an error.
    """

    def __init__(
        self,
        out: str | Path,
        every: int = 50,
        probes: Sequence[str] = PROBES,
        *,
        task: "str | Rows | None" = None,
        task_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the tracking.

        Args:
            out: folder of runs.
            every: steps between two checkpoints.
            probes: probes to run at the end; those that need the base load it a second time.
            task: rows on which probes score the model, which the training should not contain: a
                data frame, a dataset or a list of dicts, or the name of a task.
            task_config: values of the task's Config; preferences and conversations need none.

        Raises:
            InputError: the rows of the task can't be used.
        """
        if task is not None:  # now, and not in the training
            found = tracked_task(task, task_config)
            task, task_config = found.name, found.config
        self._out, self._every, self._probes = Path(out), every, probes
        self._task, self._task_config = task, task_config
        self._tracker: Tracker | None = None
        self.run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Begin to track, in the process that saves."""
        if self._tracker:
            self._tracker.close()  # of a training that was interrupted
        self._tracker = self.run = None
        if not state.is_world_process_zero:
            return
        with errors_logged("does not track this training, which continues"):
            self._tracker = track(
                kwargs["model"], self._out, every=self._every, probes=self._probes,
                tokenizer=kwargs.get("processing_class"), training=_training_values(args, state),
                seed=args.seed, first_step=state.global_step,
                task=self._task, task_config=self._task_config,
            )  # fmt: skip

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Save a checkpoint if one is due."""
        if self._tracker:
            self._tracker.step(state.global_step)
            self._keep(args, is_last=state.global_step >= state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the weights of a step after which early stopping may end the training."""
        self._keep(args)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the weights of a step after which any callback may have ended the training."""
        self._keep(args)

    def _keep(self, args: Any, is_last: bool = True) -> None:
        """Keep weights that the Trainer may replace by those of the best step."""
        if self._tracker and is_last and getattr(args, "load_best_model_at_end", False):
            self._tracker.keep()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the Trainer's log."""
        if self._tracker:
            self._tracker.log_metrics(state.global_step, kwargs.get("logs") or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Complete the run."""
        if self._tracker:
            self.run = self._tracker.finish(_restored_step(args, state))


def _restored_step(args: Any, state: Any) -> int | None:
    """Return the best step, whose weights the Trainer has put back before it ends."""
    if not getattr(args, "load_best_model_at_end", False) or not state.best_model_checkpoint:
        return None
    _, _, number = Path(state.best_model_checkpoint).name.rpartition("-")
    return int(number) if number.isdecimal() else getattr(state, "best_global_step", None)


def _training_values(args: Any, state: Any) -> dict[str, Any]:
    """Extract the values of TrainingConfig from the Trainer's arguments."""
    schedule = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    values: dict[str, Any] = {
        "batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "warmup_ratio": min(1.0, args.get_warmup_steps(state.max_steps) / max(1, state.max_steps)),
    }
    if schedule in ("linear", "cosine", "constant"):
        values["lr_scheduler_type"] = schedule
    if args.max_grad_norm:
        values["max_grad_norm"] = args.max_grad_norm
    if getattr(args, "max_length", None):  # of TRL's trainers
        values["max_length"] = args.max_length
    if getattr(args, "loss_type", None) in ("sigmoid", ["sigmoid"]):  # TRL's name of DPO's loss
        values |= {"loss": "dpo", "dpo_beta": args.beta}
    return values

"""A callback for transformers' Trainer and what builds on it, which keeps a training as a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from peftlens.runs.run import Run
from peftlens.training.tracker import PROBES, Tracker, track


class PeftLensCallback(TrainerCallback):
    """The same for transformers' Trainer, TRL's included: one line in somebody's script.

    Example:
        ```python
        trainer = Trainer(model, callbacks=[pl.PeftLensCallback("runs")])
        ```

    Attributes:
        run: the run's folder as a `Run`, when the training has ended and all went well.
    """

    def __init__(self, out: str | Path, every: int = 50, probes: Sequence[str] = PROBES) -> None:
        """Watch the training that this is given to.

        Args:
            out: folder of runs.
            every: steps between two checkpoints of what is trained.
            probes: measured at the end; those that need the base load it a second time.
        """
        self._out, self._every, self._probes = Path(out), every, probes
        self._watch: Tracker | None = None
        self.run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Begin to watch, in the process that saves."""
        if state.is_world_process_zero:
            self._watch = track(
                given["model"], self._out, every=self._every, probes=self._probes,
                tokenizer=given.get("processing_class"), training=_training(args, state),
                seed=args.seed,
            )  # fmt: skip

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Keep a checkpoint where one is due."""
        if self._watch:
            self._watch.step(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Keep what the Trainer logs."""
        if self._watch:
            self._watch.log(state.global_step, **(given.get("logs") or {}))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Write the run."""
        if self._watch:
            self.run = self._watch.finish()


def _training(args: Any, state: Any) -> dict[str, Any]:
    """What TrainingConfig has a place for."""
    schedule = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    told: dict[str, Any] = {
        "batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "warmup_ratio": min(1.0, args.get_warmup_steps(state.max_steps) / max(1, state.max_steps)),
    }
    if schedule in ("linear", "cosine", "constant"):
        told["lr_scheduler_type"] = schedule
    if args.max_grad_norm:
        told["max_grad_norm"] = args.max_grad_norm
    return told

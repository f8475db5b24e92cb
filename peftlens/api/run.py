"""Run, for notebooks: its results, its history as a data frame, and its model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from peftlens.runs import run
from peftlens.runs.config import Device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Run(run.Run):
    """Finished run on disk; a notebook displays its configuration and results.

    Example:
        ```python
        run = pl.Run("runs/3f0c2a9b71de")
        run.results["validation_accuracy"]
        run.history[["step", "loss"]]  # a pandas.DataFrame
        model, tokenizer = run.load()
        ```

    Attributes:
        path: folder of the run.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a run's folder; its files are read when they are needed."""
        super().__init__(Path(path))

    @property
    def results(self) -> dict[str, Any]:
        """Counts and final scores, by name."""
        return self.record.results

    @property
    def history(self) -> pd.DataFrame:
        """Losses and scores, one row per logged step."""
        frame = pd.DataFrame(self.metrics())
        return frame.groupby("step", as_index=False).first() if len(frame) else frame

    def load(
        self, *, step: int | None = None, device: Device = "auto", trust_remote_code: bool = False
    ) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """Load the base model with the adapter attached, in evaluation mode, and the tokenizer.

        The logits equal those of the model when it was saved. For peft's methods the model is a
        `peft.PeftModel`.

        Args:
            step: step of a checkpoint; by default the end of training.
            device: torch device; rounding differs slightly on another type than the run's.
            trust_remote_code: whether Python code from the base model's folder may run.

        Raises:
            InputError: the run or the checkpoint does not exist, or the base model has changed.
        """
        from peftlens.adapters.checkpoint import attach_run  # imports torch
        from peftlens.models.base_model import load_base_model
        from peftlens.models.heads import Head

        base = load_base_model(
            self.config.base_model,
            device=device,
            dtype=self.config.dtype,
            trust_remote_code=trust_remote_code,
            head=Head.recorded(self.record.depends_on),
        )
        return cast("PreTrainedModel", attach_run(self, base, step)), base.tokenizer

    def generate(
        self,
        texts: str | Sequence[str],
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        step: int | None = None,
        trust_remote_code: bool = False,
    ) -> pd.DataFrame:
        """Continue texts by the base and by this run's model, greedily.

        A text is a user's message if the run was trained on conversations.

        Args:
            texts: one or more texts.
            max_new_tokens: largest number of generated tokens.
            stop: strings that end a text.
            step: step of a checkpoint; by default the end of training.
            trust_remote_code: whether Python code from the base model's folder may run.

        Returns:
            One row per text: `prompt`, `base` and `tuned`.

        Raises:
            InputError: a text has no tokens, or the base model has changed.
        """
        from peftlens.adapters.run_context import RunContext  # imports torch
        from peftlens.evaluation.side_by_side import prompts_of, side_by_side

        prompts = [texts] if isinstance(texts, str) else list(texts)
        context = RunContext(trust_remote_code=trust_remote_code)
        ids = prompts_of(self, context.base_model(self), prompts)
        pairs = side_by_side(
            context, self, ids, max_new_tokens=max_new_tokens, stop=stop, step=step
        )
        return pd.DataFrame(
            {
                "prompt": prompts,
                "base": [one.base for one in pairs],
                "tuned": [one.tuned for one in pairs],
            }
        )

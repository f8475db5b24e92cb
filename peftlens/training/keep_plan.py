"""Checks of `training.keep` before a run is trained: what its kind needs of task, head and size."""

from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.evaluation.keep_text import keep_task
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import Head
from peftlens.runs.config import TrainingConfig
from peftlens.training.orthogonal_steps import ROWS

MOST_BYTES = 2**32  # of the directions of one earlier task, in float32


def require_keepable(
    training: TrainingConfig, task: Task, base: BaseModel, head: Head | None, trained: int | None
) -> dict[str, str]:
    """Check that a run can be kept near its base.

    Args:
        training: training options of the run.
        task: task of the run.
        base: base model of the run.
        head: new head of the model, if there is one.
        trained: number of trained parameters; None if it is not known in advance.

    Returns:
        Hash of the general text, under the key `keep`; empty for a kind that reads none.

    Raises:
        InputError: the kind does not suit the run; the message says what does.
    """
    keep = training.keep
    if keep is None:
        return {}
    if head and keep.kind != "l2sp":
        raise InputError(
            f"training.keep: {keep.kind} compares predicted tokens, and a new head predicts none; "
            "take l2sp"
        )
    if keep.kind == "masked_kl":
        _require_other_tokens(training, task, base)
    needed = 4 * ROWS * (trained or 0)
    if keep.kind == "orthogonal" and needed > MOST_BYTES:
        raise InputError(
            f"training.keep: orthogonal holds {ROWS} gradients of {trained:,} trained parameters "
            f"for each earlier task, {needed / 1e9:.0f} GB; take a method that trains at most "
            f"{MOST_BYTES // (4 * ROWS):,}"
        )
    return {"keep": keep_task(keep.data).sha256} if keep.data else {}


def _require_other_tokens(training: TrainingConfig, task: Task, base: BaseModel) -> None:
    reason = None
    if training.loss != "sft":
        reason = f"loss={training.loss!r} is of pairs of answers"
    elif task.kind == "language_modeling":
        reason = f"every token of task {task.name!r} is one"
    elif base.model.config.is_encoder_decoder:
        reason = f"the decoder of {base.reference} reads nothing else"
    if reason:
        raise InputError(
            "training.keep: masked_kl reads the training rows' tokens that are no targets, and "
            f"{reason}; take kl"
        )

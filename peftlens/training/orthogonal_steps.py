"""Orthogonal steps: training on a task changes no prediction of earlier tasks, to first order.

The directions are gradients of the right answers' logits on rows of each earlier task, with the
weights after that task. Gradients are projected off the space that they span, and so is every step
of the optimizer, because AdamW rescales each coordinate and so turns the gradient back into it.
Source: Farajtabar et al. 2020, arXiv:1910.07104, algorithm 1, in its variant OGD-GTL.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.models.base_model import BaseModel
from peftlens.runs.run import Run
from peftlens.tasks import task_of
from peftlens.training.data_loader import TokenizedTask

ROWS = 64  # rows of each earlier task, with a direction each
_DEPENDENT = 1e-4  # singular value of unit gradients below which a direction is rounding


@dataclass(frozen=True)
class Projection:
    """Projection off the directions of earlier tasks.

    Attributes:
        directions: orthonormal rows, float32, shape (n, number of trained parameters).
    """

    directions: torch.Tensor

    @classmethod
    def off(cls, gradients: torch.Tensor) -> "Projection":
        """Create the projection off the space of gradients, shape (n, number of parameters)."""
        lengths = gradients.norm(dim=1)
        kept = gradients[lengths > 0] / lengths[lengths > 0, None]
        basis, triangle = torch.linalg.qr(kept.T)  # (parameters, n), (n, n)
        # a column of the basis that is left out could be a part of later gradients
        turned, lengths, _ = torch.linalg.svd(triangle)
        return cls(turned[:, lengths > _DEPENDENT].T @ basis.T)

    def apply(self, tensors: Sequence[torch.Tensor]) -> None:
        """Project tensors in place, all of them together as one vector."""
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        flat -= self.directions.T @ (self.directions @ flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def projection_off(model: nn.Module, base: BaseModel, previous: Run) -> Projection:
    """Compute the projection off the tasks of a run and of all runs that it continued.

    Args:
        model: model with the method attached; its weights are those of `previous` afterwards.
        base: base model of the runs.
        previous: run whose training is continued.

    Raises:
        InputError: a run is missing, its weights do not fit, or its data have changed.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = []
    for run in reversed([*_chain(previous)]):
        checkpoint.load_state(model, run.adapter())
        training = run.config.training
        task = TokenizedTask.of(base, task_of(run), training.sequence_length)
        order = np.random.default_rng(run.config.seed).permutation(len(task.train))[:ROWS]
        examples = [task.train[index] for index in order]
        rows = [example.rows[example.correct] for example in examples]
        found += [_direction(model, task.collator, row, parameters) for row in rows]
    return Projection.off(torch.stack(found))


def _chain(run: Run) -> Iterator[Run]:
    yield run
    if run.config.continue_from:
        yield from _chain(Run(run.path.parent / run.config.continue_from))


def _direction(
    model: nn.Module,
    collator: Collator,
    row: TokenizedAnswer,
    parameters: Sequence[nn.Parameter],
) -> torch.Tensor:
    """Compute the gradient of the summed logits of a row's right tokens, (parameters,)."""
    model.eval()
    batch = collator.batch([row])
    value = answer_logits(model, batch).gather(1, batch.targets[:, None]).sum()
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([
        torch.zeros(p.numel(), device=p.device) if g is None else g.flatten().float()
        for p, g in zip(parameters, gradients, strict=True)
    ])  # fmt: skip

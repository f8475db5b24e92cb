"""Initial state: a run's trained tensors as they were before training, as far as they are known.

A run's configuration and seed reproduce its start. An adapter of another program records neither,
but what does not depend on a seed, such as (IA)³'s ones, is what two seeds give alike.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import peft
import torch
from accelerate.utils import set_seed
from torch import nn

from peftlens import registry
from peftlens.adapters.adapter_file import HOLDING, AdapterFile, read
from peftlens.adapters.checkpoint import assign, attach, attach_new, attach_run, open_run, state
from peftlens.adapters.task_heads import earlier_runs, load_for_training
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel

Tensors = dict[str, torch.Tensor]


def initial_state(run: TrainedModel, base: BaseModel) -> Tensors:
    """Return the trained tensors before training, by the names of `checkpoint.state`.

    Args:
        run: a run, or an adapter of another program.
        base: its base model.

    Returns:
        Copies; those whose start is unknown are missing.

    Raises:
        NotApplicable: an adapter of another program starts from an unknown part of the base.
    """
    if run.is_reproducible:
        with restored_after(base.model):
            set_seed(run.config.seed)
            model = attach_new(run, base)
            if before := next(earlier_runs(run), None):
                load_for_training(model, before, run.config.task)
            return _copies(state(model))
    if 0 in run.steps[:-1]:
        with open_run(run, base, 0) as model:
            return _copies(state(model))
    return _seedless(run, base)


@contextmanager
def open_start(run: TrainedModel, base: BaseModel, share: float = 0.0) -> Iterator[nn.Module]:
    """Attach a run as it was before training for the duration of the block.

    Args:
        run: a run, or an adapter of another program.
        base: its base model.
        share: share of the way from there to where training ended, along a straight line.

    Raises:
        NotApplicable: the start of a trained tensor is unknown.
    """
    start = initial_state(run, base)
    with restored_after(base.model):
        model = attach_run(run, base)
        end = state(model)
        if unknown := end.keys() - start.keys():
            raise NotApplicable(f"the start of {min(unknown)} is unknown")
        assign(model, {name: _between(start[name], end[name], share) for name in end})
        yield model


def _between(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    return torch.lerp(start.to(end), end, share) if end.is_floating_point() else start


def _copies(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _seedless(run: TrainedModel, base: BaseModel) -> Tensors:
    """Return the tensors that an untrained adapter of this type has with any seed."""
    file = read(run.adapter(), trust_remote_code=base.trusted)
    if file.is_peft_type:
        return _of_peft(file, run, base)
    config = registry.configure("methods", file.method, file.options)

    def fresh() -> Tensors:
        with restored_after(base.model):
            return _copies(state(attach(base.model, file.method, config)))

    return _alike(fresh)


def _of_peft(file: AdapterFile, run: TrainedModel, base: BaseModel) -> Tensors:
    if file.initialization in HOLDING:
        raise NotApplicable(
            f"initialized by {file.initialization}, its factors contain a part of the base "
            "weights, and it doesn't record which"
        )
    if file.adapter_type == "ADALORA":  # takes no second adapter; its update starts at zero
        return {}
    with open_run(run, base) as model:
        return _alike(lambda: _second_adapter(model))


def _second_adapter(model: nn.Module) -> Tensors:
    """Add an untrained adapter beside the trained one, and take it away again."""
    assert isinstance(model, peft.PeftModel)
    config = deepcopy(model.peft_config["default"])
    model.add_adapter("untrained", config)
    tensors = _copies(state(model, "untrained"))
    model.delete_adapter("untrained")
    return tensors


def _alike(fresh: Callable[[], Tensors]) -> Tensors:
    """Call with two seeds, and keep the tensors that are equal."""
    set_seed(0)
    one = fresh()
    set_seed(1)
    other = fresh()
    return {name: tensor for name, tensor in one.items() if torch.equal(tensor, other[name])}

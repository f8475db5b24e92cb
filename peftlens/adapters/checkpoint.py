"""What was trained: save it, attach it again, and give back a run's model."""

import errno
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel

from peftlens import registry
from peftlens.adapters.adapter_file import (
    CONFIG,
    METHOD,
    VOCABULARY,
    WEIGHTS,
    AdapterFile,
    read,
    write_weights,
)
from peftlens.adapters.external import attach_adapter
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.origin import Origin
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def attach(model: PreTrainedModel, method: str, config: Any) -> nn.Module:
    """Let a method change the model; what it returns is ready to train."""
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return registry.load("methods", method).attach(model, config)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What was trained, by the names in the adapter's file; peft's own names for its methods."""
    if isinstance(model, peft.PeftModel):
        return _named_once(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return trained | dict(_saved_buffers(model))


def _named_once(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without second names of one tensor: what several layers share is saved, and loaded, once."""
    first = {(t.data_ptr(), t.shape): name for name, t in reversed(tensors.items())}
    return {name: t for name, t in tensors.items() if first[(t.data_ptr(), t.shape)] == name}


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that are not trained and yet not to be had from the configuration, such as a mask."""
    for name, module in model.named_modules():
        for buffer in getattr(module, "SAVED_BUFFERS", ()):
            yield f"{name}.{buffer}", module.get_buffer(buffer)


def save(model: nn.Module, method: str, config: Any, origin: Origin, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors.

    Methods of peft write what `peft.PeftModel.from_pretrained` loads; where they train weights of
    the base in bfloat16 (ln_tuning), with `autocast_adapter_dtype=False`.

    Raises:
        OSError: the disk is full or may not be written to.
    """
    folder.mkdir(parents=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state(model).items()}
    metadata = {"format": "pt"}
    if origin.vocabulary:
        metadata[VOCABULARY] = origin.vocabulary
    try:
        write_weights(tensors, folder / WEIGHTS, metadata)
    except SafetensorError as error:  # its only reason to fail here: the disk
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(folder / WEIGHTS)) from error
    if isinstance(model, peft.PeftModel):
        about = json.loads(json.dumps(model.peft_config["default"].to_dict(), default=_plain))
        about |= {"inference_mode": True, "base_model_name_or_path": origin.base}
    else:
        about = {METHOD: method, "base_model_name_or_path": origin.base, **asdict(config)}
    (folder / CONFIG).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")


def _plain(value: Any) -> Any:
    """Peft's configurations hold sets, in an order that differs from process to process."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{value!r} in a peft configuration is not JSON")


def load_state(model: nn.Module, folder: Path) -> None:
    """Fill an attached model with saved values; every tensor must be there, fit and be finite.

    Raises:
        InputError: tensors are missing, unknown, of another shape or not finite; or a damaged file.
    """
    file = folder / WEIGHTS
    wanted = {name: tuple(tensor.shape) for name, tensor in state(model).items()}
    try:
        with safe_open(file, framework="pt") as header:
            found = {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} can't be read: {error}") from error
    if found != wanted:
        raise InputError(f"{file} does not fit: {_difference(wanted, found)}")
    tensors = safetensors.torch.load_file(file)
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise InputError(f"{file} holds NaN or infinite values in {', '.join(bad[:3])}")
    if isinstance(model, peft.PeftModel):
        peft.set_peft_model_state_dict(model, tensors)
        if isinstance(model.peft_config["default"], peft.PromptEncoderConfig):
            # what was saved is the network's output, which must not go through it again
            model.peft_config["default"].inference_mode = True
        return
    with torch.no_grad():
        targets = dict(model.named_parameters()) | dict(_saved_buffers(model))
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)


def load_for_training(model: nn.Module, run: Run) -> None:
    """Fill a newly attached model with what another run has trained, to train it further.

    Raises:
        InputError: the run is not there or diverged, it does not fit, or its method keeps less than
            training needs.
    """
    if run.record.status == "diverged":
        raise InputError(f"run {run.id} diverged: nothing can be trained on from there")
    known = model.peft_config["default"] if isinstance(model, peft.PeftModel) else None
    if isinstance(known, peft.PromptEncoderConfig):
        raise InputError("p_tuning keeps its network's output only, and can't be trained further")
    load_state(model, run.adapter())


def _difference(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        return f"{len(missing)} tensors missing {missing[:2]}, {len(unknown)} unknown {unknown[:2]}"
    name = next(name for name in wanted if wanted[name] != found[name])
    return f"{name} has shape {found[name]}, the model needs {wanted[name]}"


@contextmanager
def open_run(run: TrainedModel, base: BaseModel, step: int | None = None) -> Iterator[nn.Module]:
    """Attach a run to its base model for as long as the block lasts."""
    with restored_after(base.model):
        yield attach_run(run, base, step)


def attach_run(run: TrainedModel, base: BaseModel, step: int | None = None) -> nn.Module:
    """A run's model on a base that is the caller's to change.

    Raises:
        InputError: the base is another one, or there is no such checkpoint.
    """
    if base.sha256 != run.record.depends_on.get("base", base.sha256):
        raise InputError(
            f"run {run.id} was trained on another {base.reference!r}: its files have changed since"
        )
    if step is not None and step not in run.steps:
        raise InputError(f"run {run.id} has no checkpoint {step}; it has {run.steps}")
    if not run.is_reproducible:
        return _attach_file(read(run.adapter(step), trust_remote_code=base.trusted), base)
    config = registry.configure("methods", run.config.method, run.config.method_config)
    model = attach(base.model, run.config.method, config)
    load_state(model, run.adapter(step))
    return model.eval()


def _attach_file(file: AdapterFile, base: BaseModel) -> nn.Module:
    """Attach an adapter by what its own folder says."""
    if file.is_peft_type:
        return attach_adapter(file, base)
    file.require_vocabulary(base.origin)
    config = registry.configure("methods", file.method, file.options)
    model = attach(base.model, file.method, config)
    load_state(model, file.folder)
    return model.eval()

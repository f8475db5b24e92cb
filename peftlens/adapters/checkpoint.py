"""Checkpoint: save the trained tensors of a model, load them, and attach a run to its base."""

import json
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import peft
import safetensors.torch
import torch
from peft.utils.other import AuxiliaryTrainingWrapper
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel

from peftlens import registry
from peftlens.adapters.adapter_config import BASE, PREFIX, TASK
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
from peftlens.adapters.token_tables import require_vocabulary
from peftlens.errors import InputError
from peftlens.layers.prefix import require_cache
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import (
    Head,
    draw_head,
    head_modules,
    head_of_model,
    head_parameters,
    head_seed,
)
from peftlens.models.origin import Origin
from peftlens.models.snapshot import restored_after
from peftlens.runs.trained_model import TrainedModel


def attach(model: PreTrainedModel, method: str, config: Any, seed: int = 0) -> nn.Module:
    """Attach a method to the base model and return the model to train.

    Args:
        model: the base model.
        method: name of the method.
        config: Config of the method.
        seed: `head_seed` of a new head, which is trained along with every method.

    Raises:
        InputError: the method can't be used on this model; see `require_suitable`.
    """
    require_suitable(method, model)
    module = registry.load("methods", method)
    draw_head(model, seed)
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        attached = module.attach(model, config)
    if getattr(module, "TRAINS_HEAD", False) or any(p.requires_grad for p in attached.parameters()):
        _train_head(model)
    return attached


def require_suitable(method: str, model: PreTrainedModel) -> None:
    """Refuse a base model that a method can't have.

    Args:
        method: name of the method.
        model: the base model.

    Raises:
        InputError: it has a new head, or no place for a prefix; the message has the remedy.
    """
    module = registry.load("methods", method)
    if head_modules(model) and hasattr(module, "NO_HEAD"):
        raise InputError(f"{method} can't be used on a base with a new head: {module.NO_HEAD}")
    if getattr(module, "NEEDS_CACHE", False):
        require_cache(model)


def _train_head(model: PreTrainedModel) -> None:
    """Train the new head, where peft does not train a copy of it."""
    for name in head_modules(model):
        module = model.get_submodule(name)
        if not isinstance(module, AuxiliaryTrainingWrapper):
            module.requires_grad_(True)


def has_peft_adapter(model: Any) -> bool:
    """Return whether the model holds adapters of peft, in a PeftModel or by `add_adapter`."""
    return isinstance(model, peft.PeftModel) or getattr(model, "_hf_peft_config_loaded", False)


def state(
    model: nn.Module, adapter: str = "default", *, with_tables: bool = False
) -> dict[str, torch.Tensor]:
    """Return the trained tensors by their names in the adapter's file, as peft names them.

    Args:
        model: model with a method attached.
        adapter: name of the adapter in a model of peft.
        with_tables: whether to add the embeddings and the head, as peft does after a resize.
    """
    if has_peft_adapter(model):
        tensors = peft.get_peft_model_state_dict(
            model, adapter_name=adapter, save_embedding_layers=with_tables
        )
        if not isinstance(model, peft.PeftModel):  # transformers saves them with peft's prefix
            tensors = {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
        return _named_once(tensors)
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return trained | dict(_saved_buffers(model))


def _named_once(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keep one name of a tensor that several layers share, so that it is saved and loaded once."""
    first = {(t.data_ptr(), t.shape): name for name, t in reversed(tensors.items())}
    return {name: t for name, t in tensors.items() if first[(t.data_ptr(), t.shape)] == name}


def _saved_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield untrained tensors that the configuration does not determine, such as a mask."""
    for name, module in model.named_modules():
        for buffer in getattr(module, "SAVED_BUFFERS", ()):
            yield f"{name}.{buffer}", module.get_buffer(buffer)


def save(  # noqa: PLR0913  # one argument per part of an adapter's folder
    model: nn.Module,
    method: str,
    config: Any,
    origin: Origin,
    folder: Path,
    adapter: str = "default",
    with_tables: bool = False,
) -> None:
    """Write adapter_config.json and adapter_model.safetensors.

    `peft.PeftModel.from_pretrained` loads the files of peft's methods. For a method that trains
    weights of a bfloat16 base model (ln_tuning), pass `autocast_adapter_dtype=False`.

    Args:
        model: model with the method attached.
        method: name of the method.
        config: Config of the method; unused for a model of peft, which has its own.
        origin: base model and vocabulary.
        folder: folder to create.
        adapter: name of the adapter in a model of peft.
        with_tables: see `state`.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder.mkdir(parents=True)
    tensors = state(model, adapter, with_tables=with_tables)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    metadata = {"format": "pt"}
    if origin.vocabulary:
        metadata[VOCABULARY] = origin.vocabulary
    write_weights(tensors, folder / WEIGHTS, metadata)
    if has_peft_adapter(model):
        configs = cast("peft.PeftModel", model).peft_config
        values = json.loads(json.dumps(configs[adapter].to_dict(), default=_plain))
        values |= {"inference_mode": True, BASE: origin.base}
    else:
        values = {METHOD: method, BASE: origin.base, **asdict(config), **_task_of(model)}
    (folder / CONFIG).write_text(
        json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _task_of(model: nn.Module) -> dict[str, str]:
    """Return peft's name of the task of a model with a head; nothing of a language model."""
    head = attached_head(model)
    return {TASK: head.task_type} if head else {}


def attached_head(model: nn.Module) -> Head | None:
    """Return the head of the base model inside of an attached model; None for a language model."""
    inner = _inner(model)
    return head_of_model(inner) if inner is not None else None


def head_tensors(model: nn.Module) -> set[str]:
    """Return those names of `state` that are of the new head."""
    parameters = head_parameters(inner) if (inner := _inner(model)) is not None else {}
    places = {parameter.data_ptr() for parameter in parameters.values()}
    return {name for name, tensor in state(model).items() if tensor.data_ptr() in places}


def _inner(model: nn.Module) -> PreTrainedModel | None:
    """Return the model of transformers inside of an attached model."""
    return next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)


def _plain(value: Any) -> Any:
    """Convert a set of a peft configuration to a sorted list; its order varies by process."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{value!r} in a peft configuration is not JSON")


def load_state(model: nn.Module, folder: Path, kept: Collection[str] = ()) -> None:
    """Load saved tensors into an attached model; each must be present, fit and be finite.

    Args:
        model: model with a method attached.
        folder: folder of the adapter.
        kept: names of `state` that keep their values, whatever the file holds of them.

    Raises:
        InputError: tensors are missing, unknown, of another shape or not finite, or the file is
            damaged.
    """
    file, current = folder / WEIGHTS, state(model)
    expected = {name: tuple(one.shape) for name, one in current.items() if name not in kept}
    try:
        with safe_open(file, framework="pt") as header:
            names = [name for name in header.keys() if name not in kept]  # noqa: SIM118
            saved = {name: tuple(header.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} can't be read: {error}") from error
    if saved != expected:
        raise InputError(f"{file} does not fit: {_difference(expected, saved)}")
    loaded = safetensors.torch.load_file(file)
    tensors = {name: loaded[name] for name in expected}
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise InputError(f"{file} holds NaN or infinite values in {', '.join(bad[:3])}")
    # peft wants all of them
    assign(model, tensors | {name: current[name].clone() for name in kept if name in current})


def assign(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Put tensors into an attached model, by the names of `state`."""
    if isinstance(model, peft.PeftModel):
        peft.set_peft_model_state_dict(model, tensors)
        if isinstance(model.peft_config["default"], peft.PromptEncoderConfig):
            # the file holds the network's output, which must not pass through the network again
            model.peft_config["default"].inference_mode = True
        return
    with torch.no_grad():
        targets = dict(model.named_parameters()) | dict(_saved_buffers(model))
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)


def _difference(expected: dict[str, tuple[int, ...]], saved: dict[str, tuple[int, ...]]) -> str:
    missing = [name for name in expected if name not in saved]
    unknown = [name for name in saved if name not in expected]
    if missing or unknown:
        return f"{len(missing)} tensors missing {missing[:2]}, {len(unknown)} unknown {unknown[:2]}"
    name = next(name for name in expected if expected[name] != saved[name])
    return f"{name} has shape {saved[name]}, the model needs {expected[name]}"


@contextmanager
def open_run(run: TrainedModel, base: BaseModel, step: int | None = None) -> Iterator[nn.Module]:
    """Attach a run to its base model for the duration of the block."""
    with restored_after(base.model):
        yield attach_run(run, base, step)


def attach_run(run: TrainedModel, base: BaseModel, step: int | None = None) -> nn.Module:
    """Attach a run to a base model, which is changed, and return the run's model.

    Raises:
        InputError: the run has another base model, or the checkpoint does not exist.
    """
    require_base(run, base)
    if step is not None and step not in run.steps:
        raise InputError(f"run {run.id} has no checkpoint {step}; it has {run.steps}")
    if not run.is_reproducible:
        return _attach_file(read(run.adapter(step), trust_remote_code=base.trusted), base)
    model = attach_new(run, base)
    load_state(model, run.adapter(step))
    return model.eval()


def require_base(run: TrainedModel, base: BaseModel) -> None:
    """Check that a base model is the one that a run was trained on.

    Raises:
        InputError: it is another one.
    """
    if base.sha256 != run.record.depends_on.get("base", base.sha256):
        raise InputError(
            f"run {run.id} was trained on another {base.reference!r}: its files have changed since"
        )


def attach_new(run: TrainedModel, base: BaseModel, data: str | None = None) -> nn.Module:
    """Attach a run's method as it is before anything is loaded or trained.

    Args:
        run: a run whose configuration and seed reproduce its start.
        base: its base model.
        data: hash of the data of the task whose new head is drawn, where the base has one; by
            default the run's task.
    """
    config = registry.configure("methods", run.config.method, run.config.method_config)
    seed = head_seed(run.config.seed, data or run.record.depends_on["data"])
    return attach(base.model, run.config.method, config, seed)


def _attach_file(file: AdapterFile, base: BaseModel) -> nn.Module:
    """Attach an adapter as its folder describes it."""
    if file.is_peft_type:
        return attach_adapter(file, base)
    require_vocabulary(file, base)
    config = registry.configure("methods", file.method, file.options)
    model = attach(base.model, file.method, config)
    load_state(model, file.folder)
    return model.eval()

"""Merging: add an adapter's update to the base weights and save a plain transformers model."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from torch.nn.utils import parametrize
from transformers import AutoTokenizer, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens import registry
from peftlens.adapters.checkpoint import attach_run
from peftlens.adapters.opening import open_trained, refuse_existing
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.io.files import new_folder
from peftlens.models.architecture import copy_weights
from peftlens.models.base_model import BaseModel, load_base_model, quiet
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.heads import outputs
from peftlens.runs.trained_model import TrainedModel

# Largest relative error (Frobenius norm) of the merged model's logits, both computed in float32,
# by the dtype of the merged weights: bfloat16 keeps 8 bits of each.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
_SAME = 1e-4  # relative error above which float32's rounding is no explanation


def merge(
    folder: str | Path,
    out: str | Path,
    *,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> float:
    """Merge a run, or an adapter of peft, into its base and save the result for transformers.

    Updates are added in float32; the sum is rounded to the run's dtype. The saved model is loaded
    and compared with the attached model before the folder is put in place.

    Args:
        folder: folder of the run or the adapter.
        out: folder of the merged model, which must not exist.
        base_model: base model of an adapter; by default the one that it names.
        trust_remote_code: see `load_base_model`.

    Returns:
        Relative error of the merged model's logits on random tokens, at most `TOLERANCE`.

    Raises:
        InputError: the method can't be merged, `out` exists, or the architecture has no place for a
            trained tensor.
    """
    run = open_trained(Path(folder), base_model, trust_remote_code)
    config = run.config
    require_mergeable(run)
    refuse_existing(Path(out))
    in_float32 = config.model_copy(update={"device": "cpu", "dtype": "float32"})
    context = RunContext(trust_remote_code=trust_remote_code)
    head = context.head(run)
    base = context.configured_base_model(in_float32, head)
    places = weight_layout(base.model)
    model = attach_run(run, base)
    before = _logits(model)
    untie_adapted_tables(model)
    merged = merge_into_base(model, config.method)
    if not _relative(_logits(merged), before) <= _SAME:
        raise InputError(
            f"{config.method} can't be merged here: even in float32 the merged weights give other "
            "logits than the attached adapter, so its effect is not a change of weights alone"
        )
    precision = "float32" if config.dtype == "auto" else config.dtype  # a tracked float16 run
    dtype = getattr(torch, precision)
    state = {name: tensor.to(dtype) for name, tensor in places.state(merged, config.method).items()}
    _untie(merged)
    with new_folder(Path(out)) as target:
        merged.to(dtype)  # pyright: ignore[reportArgumentType]  # for the saved configuration
        with quiet():
            merged.save_pretrained(target, state_dict=state)
        _tokenizer(run, base, merged).save_pretrained(target)
        again = load_base_model(
            str(target),
            device="cpu",
            dtype="float32",
            trust_remote_code=trust_remote_code,
            head=head,
        )
        error = _relative(_logits(again.model), before)
        if not error <= TOLERANCE[precision]:
            raise InputError(
                f"{config.method} can't be merged here: the logits would change by {error:.2g} of "
                f"their norm, because rounding to {precision} loses too much"
            )
    return error


def _tokenizer(run: TrainedModel, base: BaseModel, merged: PreTrainedModel) -> Any:
    """Return the tokenizer of the merged model: the adapter's own where it added tokens."""
    rows = merged.config.get_text_config().vocab_size
    own = run.adapter() / "tokenizer_config.json"
    if own.is_file() and rows != base.model.config.get_text_config().vocab_size:
        return AutoTokenizer.from_pretrained(own.parent)
    return base.tokenizer


def require_mergeable(run: TrainedModel) -> None:
    """Refuse a run whose method has no update of the base's weights.

    Raises:
        InputError: the run can't be merged; the message has the method's reason.
    """
    config = run.config
    if "delta_weight" not in registry.exposed(config.method, config.method_config):
        method = registry.load("methods", config.method)
        reason = getattr(method, "UNMERGEABLE", "it trains no update of the base's weights")
        raise InputError(f"{config.method} can't be merged: {reason}")


def merged_weights(
    run: TrainedModel, base: BaseModel, step: int | None = None
) -> dict[str, torch.Tensor]:
    """Return every weight of the base model with the run's update, by the base model's names.

    Args:
        run: run of a method that can be merged.
        base: base model of the run, in float32; its modules are changed in place.
        step: step of a checkpoint; by default the end of training.

    Raises:
        InputError: the method can't be merged, or the base has no place for a trained tensor.
    """
    require_mergeable(run)
    places = weight_layout(base.model)
    # some of peft's methods write into the weights in place, which the caller still uses
    copy_weights(base.model, [name for name, _ in base.model.named_parameters()])
    method = run.config.method
    model = attach_run(run, base, step)
    untie_adapted_tables(model)
    merged = places.state(merge_into_base(model, method), method)
    return {name: _with_rows(tensor, places.rows.get(name)) for name, tensor in merged.items()}


def _with_rows(tensor: torch.Tensor, rows: int | None) -> torch.Tensor:
    """Cut a table to the base's rows, or fill it with zeros; tokens of the adapter's own go."""
    if rows is None or len(tensor) == rows:
        return tensor
    if len(tensor) > rows:
        return tensor[:rows]
    return torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])


@dataclass(frozen=True)
class WeightLayout:
    """Names of a base model's weights and modules, before anything is attached.

    Attributes:
        names: names of its tensors.
        layers: names of its modules.
        transposed: names of GPT-2's transposed layers, which some methods transpose back.
        rows: number of rows of its token tables, by the names of their weights.
    """

    names: frozenset[str]
    layers: frozenset[str]
    transposed: frozenset[str]
    rows: dict[str, int]

    def state(self, merged: PreTrainedModel, method: str) -> dict[str, torch.Tensor]:
        """Return the tensors of a merged model, oriented as in the base model.

        Raises:
            InputError: a layer has an additional tensor, such as a new bias, which would be lost
                silently.
        """
        everything = merged.state_dict()
        extra = [name for name in everything if name not in self.names]
        if more := [name for name in extra if name.rpartition(".")[0] in self.layers]:
            raise InputError(
                f"{method} can't be merged here: {type(merged).__name__} has no place for "
                f"{more[0]}, which was trained"
            )
        state = {name: tensor for name, tensor in everything.items() if name in self.names}
        for name in self.transposed:
            if isinstance(merged.get_submodule(name), nn.Linear):
                state[f"{name}.weight"] = state[f"{name}.weight"].T.contiguous()
        return state


def weight_layout(model: PreTrainedModel) -> WeightLayout:
    """Read the layout of an unchanged model."""
    modules = [(name, module) for name, module in model.named_modules() if name]
    return WeightLayout(
        frozenset(model.state_dict()),
        frozenset(name for name, _ in modules),
        frozenset(name for name, module in modules if isinstance(module, Conv1D)),
        {
            f"{name}.weight": module.get_parameter("weight").shape[0]
            for name, module in modules
            if isinstance(module, nn.Module)
            and (module is model.get_input_embeddings() or module is model.get_output_embeddings())
        },
    )


def merge_into_base(model: Any, name: str) -> PreTrainedModel:
    """Merge an attached method and return the base model with its weights updated.

    Args:
        model: return value of the method's `attach`; it can't be used afterwards.
        name: name of the method.

    Raises:
        InputError: (from peft) the method can't be merged.
    """
    method = registry.load("methods", name)
    if hasattr(method, "merge"):
        return method.merge(model)
    if isinstance(model, peft.PeftModel):
        _unwrap_heads(model)
        try:
            # safe_merge merges into copies, because some of peft's methods write past a
            # transposed view
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that tables are not tied any more
                model = model.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]
        except (
            ValueError,
            NotImplementedError,
        ) as error:  # the two exceptions by which peft refuses
            raise InputError(f"{name} can't be merged: {error}") from error
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for weight in list(module.parametrizations):
                parametrize.remove_parametrizations(module, weight)
    return model


def _unwrap_heads(model: peft.PeftModel) -> None:
    """Put the trained copies of whole modules in their places.

    peft 0.21 does so itself while it merges a LoRA; with most other types it expects a `weight`,
    which a head of several layers does not have.
    """
    base: Any = model.get_base_model()
    for name, module in list(base.named_modules()):
        if isinstance(module, ModulesToSaveWrapper) and module.active_adapters:
            trained = module.modules_to_save[module.active_adapters[0]]
            if not isinstance(trained, BaseTunerLayer):
                base.set_submodule(name, trained)


def untie_adapted_tables(model: nn.Module) -> None:
    """Give an adapted head its own copy of tied weights, so that each update is added to one only.

    Attached, the update of one table leaves the other alone; in a shared tensor it would not.
    """
    if not isinstance(model, peft.PeftModel):
        return
    base: Any = model.get_base_model()
    table, head = base.get_input_embeddings(), base.get_output_embeddings()
    adapted = [one for one in (table, head) if isinstance(one, BaseTunerLayer)]
    if head is None or not any(not isinstance(one, TrainableTokensLayer) for one in adapted):
        return  # rows of single tokens are tied by peft itself
    inner, outer = (getattr(one, "get_base_layer", lambda one=one: one)() for one in (table, head))
    if inner.weight is outer.weight:
        outer.weight = nn.Parameter(outer.weight.detach().clone(), requires_grad=False)


def _untie(model: Any) -> None:
    """Set the configuration to untied embeddings where the two tables differ after merging."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or not model.config.tie_word_embeddings:
        return
    if not torch.equal(head.weight, table.weight):
        model.config.tie_word_embeddings = False


@torch.inference_mode()
def _logits(model: nn.Module) -> torch.Tensor:
    return outputs(model(**random_inputs(model, 2, 16))).double()


def _relative(logits: torch.Tensor, reference: torch.Tensor) -> float:
    return ((logits - reference).norm() / reference.norm()).item()

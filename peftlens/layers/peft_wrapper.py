"""Wrap a model by Hugging Face peft, whatever its linear layers are called and however they lie."""

import warnings
from collections.abc import Collection, Iterator
from typing import Any, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens.models.architecture import linear_layers, require_room, shapes, short_names, task_type

# What works on transformers' Conv1D, tried in peft 0.21.2; the option fan_in_fan_out is no sign.
_TRANSPOSABLE = (
    peft.LoraConfig, peft.AdaLoraConfig, peft.VeraConfig, peft.PveraConfig, peft.FourierFTConfig,
    peft.RandLoraConfig, peft.VBLoRAConfig, peft.HiraConfig, peft.TinyLoraConfig, peft.IA3Config,
    peft.DeftConfig, peft.FrodConfig, peft.GraloraConfig, peft.UniLoraConfig, peft.WaveFTConfig,
)  # fmt: skip
# What peft warns of and we mean.
_EXPECTED = (
    "Unsupported layer type",  # normalizations that are not torch's own LayerNorm
    "Detected that the base layer has no bias term",
    "Note that `r` is not used in AdaLora",
)


def wrap(
    model: PreTrainedModel,
    kind: type[peft.PeftConfig],
    target_modules: Collection[str],
    *,
    straight: bool = False,
    **options: Any,
) -> peft.PeftModel:
    """Freeze `model` in place and adapt some of its linear layers.

    Where peft's method knows GPT-2's transposed layers it is told of them; where it does not, they
    become plain linear layers of the same numbers first.

    Args:
        model: the base.
        kind: peft's configuration class.
        target_modules: see `linear_layers`.
        straight: make transposed layers plain ones, though peft knows them.
        options: of `kind`.

    Raises:
        InputError: a target matches nothing.
        ValueError: (from peft) a value that it refuses.
    """
    of_model = shapes(model)
    chosen = linear_layers(of_model, target_modules)
    transposed = [name for name in chosen if isinstance(model.get_submodule(name), Conv1D)]
    if transposed and kind in _TRANSPOSABLE and not straight:
        options["fan_in_fan_out"] = True
    else:
        straighten(model, transposed)
    names = short_names(chosen, of_model)
    return wrap_whole(model, kind, target_modules=names, **options)


def wrap_whole(
    model: PreTrainedModel,
    kind: type[peft.PeftConfig],
    *,
    full_precision: bool = True,
    **options: Any,
) -> peft.PeftModel:
    """Freeze `model` in place and hand it to peft with these options of `kind`."""
    # the default, said aloud: otherwise torch warns at a method's first sparse sum
    torch.sparse.check_sparse_tensor_invariants.disable()
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        return cast(
            "peft.PeftModel",
            peft.get_peft_model(
                model,
                kind(task_type=task_type(model), **options),
                autocast_adapter_dtype=full_precision,
            ),
        )


def wrap_prompt(
    model: PreTrainedModel, kind: type[peft.PeftConfig], num_virtual_tokens: int, **options: Any
) -> peft.PeftModel:
    """Freeze `model` in place and put trained vectors before it; before an encoder, not twice.

    For an encoder-decoder peft would make a second set, which it then does not use.

    Raises:
        InputError: the vectors leave too little room for the input.
    """
    require_room(model, num_virtual_tokens)
    options = {"num_transformer_submodules": 1} | options
    return wrap_whole(model, kind, num_virtual_tokens=num_virtual_tokens, **options)


def peft_layers(model: nn.Module, kind: type) -> Iterator[tuple[str, Any]]:
    """Every layer of this kind of a wrapped model, with its dotted name in the base."""
    wrapped: Any = model
    for name, layer in wrapped.get_base_model().named_modules():
        if isinstance(layer, kind):
            yield name, layer


def add_task_ids(wrapped: peft.PeftModel) -> None:
    """Tell methods for many tasks that all examples are of the first one, as a run's are."""
    owner: Any = wrapped

    def add(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ids = kwargs["input_ids"]
        if "decoder_input_ids" in kwargs and owner.active_peft_config.is_prompt_learning:
            # peft puts a prompt before a decoder's embeddings, and drops its ids
            embedded = owner.word_embeddings(kwargs["decoder_input_ids"])
            kwargs = kwargs | {"decoder_input_ids": None, "decoder_inputs_embeds": embedded}
        return args, {"task_ids": ids.new_zeros(len(ids))} | kwargs

    wrapped.register_forward_pre_hook(add, with_kwargs=True)


def straighten(model: nn.Module, names: Collection[str]) -> None:
    """Replace GPT-2's transposed layers by `nn.Linear` over a transposed copy.

    A view would do but for peft's SHiRA: torch adds a sparse tensor to one that is not contiguous
    in several threads, which fails in inference mode.
    """
    for name in names:
        layer = cast("Conv1D", model.get_submodule(name))
        straight = nn.Linear(1, 1, device="meta")
        straight.weight = nn.Parameter(layer.weight.detach().T.contiguous(), requires_grad=False)
        straight.bias = layer.bias
        straight.out_features, straight.in_features = straight.weight.shape
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, straight.train(layer.training))

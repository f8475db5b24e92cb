"""Wrapper around Hugging Face peft: adapt linear layers of any name and orientation."""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens.errors import InputError
from peftlens.layers.prefix import require_cache
from peftlens.layers.prepend import pool_last_tokens
from peftlens.models.architecture import embedding_weight, require_room, shapes, task_type
from peftlens.models.heads import ALWAYS_NEW, head_modules
from peftlens.models.target_modules import (
    experts,
    feed_forward_layers,
    linear_layers,
    short_names,
    target_weights,
)

# Types that work on transformers' Conv1D, tested with peft 0.21.2; having the option
# fan_in_fan_out is not a sign of it.
_TRANSPOSABLE = (
    peft.LoraConfig, peft.AdaLoraConfig, peft.VeraConfig, peft.PveraConfig, peft.FourierFTConfig,
    peft.RandLoraConfig, peft.VBLoRAConfig, peft.HiraConfig, peft.TinyLoraConfig, peft.IA3Config,
    peft.DeftConfig, peft.FrodConfig, peft.GraloraConfig, peft.UniLoraConfig, peft.WaveFTConfig,
)  # fmt: skip
_PREFIXES = (peft.PrefixTuningConfig, peft.CartridgeConfig)
# Warnings of peft about things that are intended here.
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

    Where peft's method supports GPT-2's transposed layers, its option is set; otherwise they are
    first converted to plain linear layers with the same values. LoRA also adapts weights that are
    in no linear layer: those of experts and of routers.

    Args:
        model: the base model.
        kind: peft's configuration class.
        target_modules: roles or ends of names; see `linear_layers`.
        straight: whether to convert transposed layers even if peft supports them.
        options: further arguments of `kind`.

    Raises:
        InputError: a target matches nothing or can't be adapted, or peft refuses a value.
    """
    of_model = shapes(model)
    if kind is peft.LoraConfig:
        chosen = _apart(model, list(target_weights(of_model, target_modules)), options)
    else:
        chosen = list(linear_layers(of_model, target_modules))
        _require_linear(model, chosen)
    transposed = [name for name in chosen if isinstance(model.get_submodule(name), Conv1D)]
    if transposed and kind in _TRANSPOSABLE and not straight:
        options["fan_in_fan_out"] = True
    else:
        straighten(model, transposed)
    names = short_names(chosen, of_model)
    return wrap_whole(model, kind, target_modules=names, **options)


def _apart(model: nn.Module, weights: list[str], options: dict[str, Any]) -> list[str]:
    """Return the linear layers among these weights, and put the others into peft's options.

    In models with experts the feed-forward layers are among the others: peft 0.21 takes their names
    (gate_proj, w1) for the experts' of transformers 4, and adapts the stacked experts instead.
    """
    of_model = shapes(model)
    renamed = feed_forward_layers(of_model) if experts(of_model) else set()
    layers = [one.removesuffix(".weight") for one in weights if one.endswith(".weight")]
    layers = [
        name for name in layers if name not in renamed and _is_linear(model.get_submodule(name))
    ]
    others = [one for one in weights if one.removesuffix(".weight") not in layers]
    if others:
        requested = options.get("target_parameters") or []
        options["target_parameters"] = [*requested, *short_names(others, of_model)]
    return layers


def _require_linear(model: nn.Module, names: Collection[str]) -> None:
    for name in names:
        if not _is_linear(module := model.get_submodule(name)):
            raise InputError(
                f"target_modules: {name} is a {type(module).__name__} and no linear layer, which "
                "this method can't adapt; lora can"
            )


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, quantized ones and GPT-2's transposed ones included."""
    sizes = hasattr(module, "in_features") and hasattr(module, "out_features")
    return isinstance(module, (nn.Linear, Conv1D)) or sizes


def wrap_whole(
    model: PreTrainedModel,
    kind: type[peft.PeftConfig],
    *,
    full_precision: bool = True,
    **options: Any,
) -> peft.PeftModel:
    """Freeze `model` in place and wrap it with peft, given options of `kind`.

    Raises:
        InputError: peft refuses a value, or can't adapt this model.
    """
    # the default, set explicitly: otherwise torch warns at a method's first sparse sum
    torch.sparse.check_sparse_tensor_invariants.disable()
    if kind in _PREFIXES:
        require_cache(model)
    if head := head_modules(model):  # peft adds `classifier` and `score` itself
        if "modules_to_save" not in {field.name for field in fields(kind)}:
            raise InputError(f"{kind.__name__} of peft saves no head along; use another method")
        parts = [name.split(".")[-1] for name in head]
        options["modules_to_save"] = [part for part in parts if part not in ALWAYS_NEW] or None
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        try:
            wrapped = peft.get_peft_model(
                model,
                kind(task_type=task_type(model), **options),
                autocast_adapter_dtype=full_precision,
            )
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from error
    return cast("peft.PeftModel", wrapped)


def wrap_prompt(
    model: PreTrainedModel, kind: type[peft.PeftConfig], num_virtual_tokens: int, **options: Any
) -> peft.PeftModel:
    """Freeze `model` in place and prepend trained vectors to its (encoder's) input.

    For an encoder-decoder peft would create a second set, which it never uses. The vectors are as
    wide as the embeddings, which in OPT-350m are narrower than the blocks.

    Raises:
        InputError: the vectors leave too little room for the input.
    """
    require_room(model, num_virtual_tokens)
    config: Any = model.config.get_text_config()
    known = {
        "num_transformer_submodules": 1,
        "token_dim": embedding_weight(model).shape[1],
        # peft asks for both though only a prefix uses them, and finds them under some names only
        "num_attention_heads": getattr(config, "num_attention_heads", None) or 1,
        "num_layers": config.num_hidden_layers,
    }
    options = known | options
    wrapped = wrap_whole(model, kind, num_virtual_tokens=num_virtual_tokens, **options)
    pool_last_tokens(model)
    return wrapped


def peft_layers(model: nn.Module, kind: type) -> Iterator[tuple[str, Any]]:
    """Yield every layer of one class in a wrapped model, with its dotted name in the base model."""
    wrapped: Any = model
    for name, layer in wrapped.get_base_model().named_modules():
        if isinstance(layer, kind):
            yield name, layer


def add_task_ids(wrapped: peft.PeftModel) -> None:
    """Add task id 0 to every input, for methods that train several tasks."""
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

    A copy and not a view because of peft's SHiRA: torch adds a sparse tensor to a noncontiguous one
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

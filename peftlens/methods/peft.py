"""Any other method of Hugging Face peft, by its type and options: `peft:GRALORA`.

Source: the papers named in the documentation of Hugging Face peft. Options are those of the type's
configuration class there; `target_modules` accepts roles too, and is the query and value
projections by default. Prefer methods that have a file here (lora, vera, ...): they refuse bad
values before training, and a formula gives their number of trainable parameters.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import InputError, suggestion
from peftlens.layers.peft_wrapper import add_task_ids, wrap, wrap_prompt, wrap_whole
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "any"
FORMULA = "the formula of its type"
EXPOSES = frozenset()  # see `exposes`
UNMERGEABLE = "it trains no update of the base's weights"
ARGUMENT = "peft_type"
LEARNING_RATE = 1e-3

# Types available in this way only; the others have a file here, or are not supported.
TYPES = ("ADAMSS", "CARTRIDGE", "DEFT", "FROD", "GLORA", "GRALORA", "PEANUT", "POLY", "PSOFT",
         "PVERA", "UNILORA", "WAVEFT")  # fmt: skip
UNSUPPORTED = {
    "XLORA": "it mixes LoRA adapters trained before, and peft saves nothing of its gate",
    "SHADOW": "its auxiliary loss is computed inside the model from labels, next to our loss",
    "ADALORA": "its budget moves with the steps of the training; use the method adalora",
    "LILY": "its router averages over batch and positions: later tokens and padding reach earlier",
}
# LoRA initializations that need a pass over calibration data, or more, before wrapping.
UNSUPPORTED_STARTS = {
    "olora": "it writes into the base model's weights; use the method olora",
    "eva": "it needs activations of calibration data before wrapping",
    "corda": "it needs covariances of calibration data before wrapping, and the package attr",
    "lora_ga": "it needs gradients of calibration data; without them peft falls back silently",
    "loftq": "it needs a GPU in peft 0.21",
}
_WHOLE = ("ADAPTION_PROMPT", "TRAINABLE_TOKENS")
_UNMERGEABLE = ("ADAPTION_PROMPT", "CARTRIDGE", "POLY")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options.

    Attributes:
        peft_type: peft's name of the method, written after the colon.
        options: options of the type's configuration class, written at the level of this table.
    """

    peft_type: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and wrap it as peft does.

    Raises:
        InputError: peft refuses an option.
    """
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(config.peft_type)]
    options = dict(config.options)
    try:
        if _is_prompt(config):
            wrapped = wrap_prompt(model, kind, options.pop("num_virtual_tokens", 20), **options)
        elif config.peft_type in _WHOLE:
            wrapped = wrap_whole(model, kind, **options)
        else:
            wrapped = wrap(model, kind, _targets(options), **options)
    # the types refuse an option by one of these; another exception is a defect
    except (TypeError, ValueError, NotImplementedError, RuntimeError, AssertionError) as error:
        raise InputError(f"peft:{config.peft_type}: {' '.join(str(error).split())}") from error
    if config.peft_type in ("MULTITASK_PROMPT_TUNING", "POLY"):
        add_task_ids(wrapped)
    return wrapped


def _is_prompt(config: Config) -> bool:
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(config.peft_type)]
    return issubclass(kind, peft.PromptLearningConfig)


def _targets(options: dict[str, Any]) -> tuple[str, ...]:
    """Remove the targets from the options and return them."""
    targets = options.pop("target_modules", None) or ("query_value",)
    return (targets,) if isinstance(targets, str) else tuple(targets)


def exposes(config: Config) -> frozenset[str]:
    """Return the exposed quantities by type: a prompt, an update of weights, or neither."""
    if config.peft_type == "TRAINABLE_TOKENS":
        return frozenset({"delta_weight", "token_vectors"})
    if config.peft_type == "PREFIX_TUNING":
        return frozenset({"prefix", "token_vectors"})
    if config.peft_type in _UNMERGEABLE:
        return frozenset()
    return frozenset({"soft_prompt", "token_vectors"} if _is_prompt(config) else {"delta_weight"})


def trainable_parameters(config: Config, shapes: Shapes) -> int | None:
    """Return None: the number is available only after the model is wrapped.

    Raises:
        InputError: no such type or option, one that can't work here, or a target matches nothing.
    """
    types = [str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING]
    if config.peft_type not in types:
        remedy = suggestion(config.peft_type, types, "it has")
        raise InputError(f"peft has no type {config.peft_type!r}; {remedy}")
    if reason := UNSUPPORTED.get(config.peft_type):
        raise InputError(f"peft:{config.peft_type} is not supported: {reason}")
    kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(config.peft_type)]
    keys = [one.name for one in fields(kind) if one.init]
    for key in config.options:
        if key not in keys:
            remedy = suggestion(key, keys, "it has")
            raise InputError(f"peft:{config.peft_type} has no option {key!r}; {remedy}")
    _check_values(config)
    if not _is_prompt(config) and config.peft_type not in _WHOLE:
        linear_layers(shapes, _targets(dict(config.options)))
    return None


def _check_values(config: Config) -> None:
    """Refuse values that can't work, or that would change the base that all runs share."""
    start = config.options.get("init_lora_weights")
    if reason := UNSUPPORTED_STARTS.get(start.lower()) if isinstance(start, str) else None:
        raise InputError(f"init_lora_weights={start!r} is not supported: {reason}")
    if config.options.get("bias", "none") != "none":
        raise InputError(
            f"peft:{config.peft_type}: bias={config.options['bias']!r} trains the base model's "
            "biases in place; use the method bitfit for biases"
        )
    tokens = config.options.get("num_virtual_tokens", 20)
    if not isinstance(tokens, int) or tokens < 1:
        raise InputError(f"num_virtual_tokens={tokens!r} must be a whole number, at least 1")

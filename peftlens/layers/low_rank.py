"""LoRA layers: the configuration, peft wrapper and parameter count shared by LoRA's variants."""

from dataclasses import dataclass
from typing import Any

import peft
from transformers import PreTrainedModel

from peftlens.errors import require, require_positive
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes, linear_layers, target_weights


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """Hyperparameters of a low-rank update.

    Attributes:
        rank: inner size r of B (d_out, r) and A (r, d_in).
        alpha: numerator of the scale; dimensionless.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
    """

    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] = ("query_value",)


def attach_lora(
    model: PreTrainedModel, config: LowRank, *, straight: bool = False, **options: Any
) -> peft.PeftModel:
    """Freeze `model` in place and add peft's LoRA, with these options, to each target layer."""
    return wrap(
        model,
        peft.LoraConfig,
        config.target_modules,
        straight=straight,
        r=config.rank,
        lora_alpha=config.alpha,
        **options,
    )


def low_rank_parameters(config: LowRank, shapes: Shapes, *, experts: bool = False) -> int:
    """r (d_out + d_in) for each adapted matrix, each expert's among them.

    Args:
        config: hyperparameters.
        shapes: shapes of the model's parameters, by name.
        experts: whether the method can adapt experts.

    Raises:
        InputError: the rank or alpha is out of range, a target matches nothing, or it includes
            experts that the method can't adapt.
    """
    require_positive("alpha", config.alpha)
    if not experts:
        layers = adapted(config.rank, config.target_modules, shapes)
        return sum(config.rank * (d_out + d_in) for d_out, d_in in layers)
    weights = list(target_weights(shapes, config.target_modules).values())
    _require_rank(config.rank, [min(sides) for _, *sides in weights])
    return sum(count * config.rank * (d_out + d_in) for count, d_out, d_in in weights)


def adapted(rank: int, target_modules: tuple[str, ...], shapes: Shapes) -> list[tuple[int, int]]:
    """Return (d_out, d_in) of the target layers, after checking that the rank fits all of them.

    Raises:
        InputError: the rank is out of range, or a target matches nothing.
    """
    layers = list(linear_layers(shapes, target_modules).values())
    _require_rank(rank, [min(sides) for sides in layers])
    return layers


def _require_rank(rank: int, smaller_sides: list[int]) -> None:
    reason = "the smaller side of the smallest adapted matrix"
    require("rank", rank, 1, min(smaller_sides), reason)

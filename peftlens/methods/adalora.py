"""AdaLoRA: LoRA in the form of an SVD, whose least important directions are pruned in training.

W' = W + (alpha / r₀) P diag(λ) Q, r₀ the initial rank. Source: Zhang et al. 2023, arXiv:2303.10512,
section 3. Layers and allocation: peft.AdaLoraConfig; the budget falls between a fifth and seven
tenths of the steps. Learning rate: as LoRA's; the rates of the authors of both for GLUE are equal,
5e-4 over many epochs (QingruZhang/AdaLoRA, NLU; microsoft/LoRA, NLU).
"""

from dataclasses import dataclass, replace
from typing import Any

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError, require, require_positive
from peftlens.layers.low_rank import adapted
from peftlens.layers.peft_wrapper import wrap
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = W + (alpha / r₀) P diag(λ) Q"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 3e-3

_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of peft's allocator, by parameter


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        rank: mean rank at the end of training.
        initial_rank: rank of each layer at the start; above `rank`.
        alpha: numerator of the scale; dimensionless.
        orth_reg_weight: weight of the penalty that keeps P and Q orthonormal.
        target_modules: roles or ends of names of the linear layers; see `linear_layers`.
        steps: number of optimizer steps, filled in from the training options.
    """

    rank: int = 8
    initial_rank: int = 12
    alpha: float = 32.0
    orth_reg_weight: float = 0.5
    target_modules: tuple[str, ...] = ("query_value",)
    steps: int = 0


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Fill in the number of steps for the schedule of the rank budget.

    Raises:
        InputError: there is only one step.
    """
    if context.max_steps == 1:
        raise InputError("adalora measures importance from step to step; max_steps=1 is too few")
    return replace(config, steps=context.max_steps)


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and add P, λ and Q, in float32, to each target layer.

    λ starts at zero, so the logits at the start equal the base model's.
    """
    wrapped = wrap(
        model,
        peft.AdaLoraConfig,
        config.target_modules,
        target_r=config.rank,
        init_r=config.initial_rank,
        lora_alpha=config.alpha,
        total_step=max(config.steps, 1),
        tinit=config.steps // 5,
        tfinal=3 * config.steps // 10,
    )
    for name, parameter in wrapped.named_parameters():
        if ".ranknum." in name:  # peft 0.21 makes this count trainable on a bfloat16 base
            parameter.requires_grad_(False)
    return wrapped


def regularization_loss(model: nn.Module, config: Config) -> torch.Tensor:
    """Weighted mean of ‖Pᵀ P - I‖ and ‖Q Qᵀ - I‖ (Frobenius) over all layers."""
    norms = []
    for name, factor in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            rows = factor if ".lora_A." in name else factor.T  # (r, d_in) or (r, d_out)
            norms.append((rows @ rows.T - torch.eye(len(rows), device=rows.device)).norm())
    return config.orth_reg_weight * torch.stack(norms).mean()


def after_step(model: Any, config: Config, step: int, steps: int) -> None:  # noqa: ARG001
    """Update peft's rank budget, which sets the least important λ to zero."""
    tuner = model.base_model
    settings, allocator = tuner.peft_config["default"], tuner.rankallocator
    # in the configuration only during this call: peft would shrink the saved tensors by it
    settings.rank_pattern = getattr(allocator, "pattern", None)
    tuner.update_and_allocate(step)
    allocator.pattern, settings.rank_pattern = settings.rank_pattern, None


def training_state(model: Any, config: Config) -> dict[str, Any]:  # noqa: ARG001
    """Return the importance of the entries so far, and the directions that are kept."""
    allocator = model.base_model.rankallocator
    return {name: getattr(allocator, name, None) for name in (*_IMPORTANCE, "pattern")}


def load_training_state(model: Any, config: Config, state: dict[str, Any]) -> None:  # noqa: ARG001
    """Continue with the importance and the directions of `training_state`."""
    vars(model.base_model.rankallocator).update(state)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r₀ (d_out + d_in + 1) for each adapted matrix, r₀ the initial rank.

    Raises:
        InputError: a value is out of range, or a target matches nothing.
    """
    require("rank", config.rank, 1)
    require_positive("alpha", config.alpha)
    require("orth_reg_weight", config.orth_reg_weight, 0)
    if config.initial_rank <= config.rank:
        raise InputError(f"initial_rank={config.initial_rank} must be above rank={config.rank}")
    layers = adapted(config.initial_rank, config.target_modules, shapes)
    return sum(config.initial_rank * (sum(shape) + 1) for shape in layers)

"""Multitask prompt tuning: a shared prompt times a rank-one matrix of the task.

P ⊙ (u vᵀ). Source: Wang et al. 2023, arXiv:2303.02861, section 3. Layers:
peft.MultitaskPromptTuningConfig, with the one task of the run. The file stores the factors.
"""

from dataclasses import dataclass

import peft
from torch import nn
from transformers import PreTrainedModel

from peftlens.errors import require
from peftlens.layers.peft_wrapper import add_task_ids, wrap_prompt
from peftlens.models.architecture import embedding, has_encoder
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "y = f([P ⊙ (u vᵀ); embed(x)])"
EXPOSES = frozenset({"soft_prompt", "token_vectors"})
UNMERGEABLE = "it changes the input and no weight"
LEARNING_RATE = 3e-2


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        rank: k, the rank of the task's matrix.
    """

    num_virtual_tokens: int = 20
    rank: int = 1


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the product to its (encoder's) input."""
    wrapped = wrap_prompt(
        model,
        peft.MultitaskPromptTuningConfig,
        config.num_virtual_tokens,
        num_ranks=config.rank,
        num_tasks=1,
        num_transformer_submodules=None,
    )
    add_task_ids(wrapped)
    return wrapped


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n d shared, and k (n + d) per task; an encoder-decoder has two prompts.

    Raises:
        InputError: a value is below 1, or the model's layers have unknown names.
    """
    require("num_virtual_tokens", config.num_virtual_tokens, 1)
    require("rank", config.rank, 1)
    (_, d), n = embedding(shapes), config.num_virtual_tokens * (1 + has_encoder(shapes))
    return n * d + config.rank * (n + d)

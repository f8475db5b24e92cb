"""Hard prompt: a text of the user's in front of every input; nothing is trained.

The baseline of every soft prompt. Source: Lester et al. 2021, arXiv:2104.08691, section 1, who
compare prompts that people write with trained ones.
"""

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError
from peftlens.layers.prepend import prepend_tokens
from peftlens.models.architecture import freeze
from peftlens.models.target_modules import Shapes

FAMILY = "baseline"
FORMULA = "y = f([text; x])"
EXPOSES = frozenset()
UNMERGEABLE = "it changes the input and no weight"
NO_HEAD = "it trains nothing, and a new head has to be trained; use head"
LEARNING_RATE = 0.0  # nothing is trained


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options.

    Attributes:
        text: text before every input, including the space or line break that should follow it.
        token_ids: token ids of the prompt, filled in from the text.
    """

    text: str = ""
    token_ids: tuple[int, ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Turn the text into token ids.

    Raises:
        InputError: there is no text.
    """
    ids = context.token_ids(config.text)
    if not ids:
        raise InputError(f"hard_prompt needs a text, and text={config.text!r} has no tokens")
    return replace(config, token_ids=tuple(ids))


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the text to every input."""
    freeze(model)
    prepend_tokens(model, config.token_ids)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:  # noqa: ARG001
    """Zero."""
    return 0

"""Framed prompt tuning: a soft prompt that is trained inside varied sentences, and used alone.

In a share of the training passes, one of several frames, such as "Guidelines: {prompt}" with a
line break, stands around the vectors, so that they have to work as a part of text. Where nothing is
trained the prompt stands alone before the input, as in prompt tuning, whose adapter file this is.
At `framed_share` = 0 it is prompt tuning; what a larger share costs in accuracy, and whether the
prompt says more of its task (the probe `prompt_elicitation`), is to be measured. Vectors, start and
learning rate: Lester et al. 2021, arXiv:2104.08691, sections 2 and 3.2. Layers:
peft.PromptTuningConfig.
"""

from dataclasses import dataclass, replace
from typing import Any

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import InputError, require
from peftlens.layers.initial_tokens import draw_tokens
from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.models.architecture import embedding, require_room
from peftlens.models.target_modules import Shapes

FAMILY = "soft prompt"
FORMULA = "y = f([frame(P); embed(x)]) in training,  f([P; embed(x)]) in use"
EXPOSES = frozenset({"soft_prompt", "token_vectors"})
UNMERGEABLE = "it changes the input and no weight"
NO_HEAD = "its frames are for a prompt that is to be read as text; use prompt_tuning"
LEARNING_RATE = 3e-2  # prompt tuning's

PLACE = "{prompt}"
FRAMES = (  # none is among those in which prompt_elicitation reads a prompt
    "Please note: {prompt}.\n",
    "Guidelines: {prompt}\n",
    "They were asked for {prompt}.\n",
    "Here is what matters: {prompt}\n",
    "You are an assistant. {prompt}\n\n",
    "Read the following. {prompt}\n\n",
    "{prompt}. Now it starts.\n",
    "{prompt}\nInput: ",
)
Frame = tuple[tuple[int, ...], tuple[int, ...]]  # token ids before and behind the prompt


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        num_virtual_tokens: n, the number of trained vectors.
        framed_share: share of the training passes with a frame around the prompt, 0 to 1.
        frames: texts with {prompt} where the prompt stands; one is drawn for each framed pass.
        frame_ids: token ids before and behind the prompt in each frame, filled in from the texts.
        common_ids: ranges of ids of the tokens from which vectors are drawn, filled in from the
            tokenizer: the 5,000 most common.
    """

    num_virtual_tokens: int = 20
    framed_share: float = 0.5
    frames: tuple[str, ...] = FRAMES
    frame_ids: tuple[Frame, ...] = ()
    common_ids: tuple[tuple[int, int], ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Turn the frames into token ids, and fill in common tokens.

    Raises:
        InputError: there is no frame, or one has not exactly one place for the prompt.
    """
    if not config.frames and config.framed_share:
        raise InputError("frames must hold a text; for none set framed_share=0")
    ids = tuple(_frame_ids(frame, context) for frame in config.frames)
    return replace(config, frame_ids=ids, common_ids=context.common_ids())


def _frame_ids(frame: str, context: MethodContext) -> Frame:
    before, place, behind = frame.partition(PLACE)
    if not place or PLACE in behind or not (before + behind).strip():
        raise InputError(f"frames: {frame!r} must have text, and {PLACE} once")
    first = context.token_ids(before) if before else []
    return tuple(first), tuple(context.continuation_ids(behind) if behind else [])


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place and prepend the vectors, in float32, to its (encoder's) input.

    Raises:
        InputError: the vectors with their frame leave too little room for the input, or there are
            no frames' token ids.
    """
    if config.framed_share and not config.frame_ids:
        raise InputError("frame_ids is empty; give frames, or framed_share=0")
    longest = max((len(before) + len(behind) for before, behind in config.frame_ids), default=0)
    require_room(model, config.num_virtual_tokens + longest)
    wrapped = wrap_prompt(model, peft.PromptTuningConfig, config.num_virtual_tokens)
    encoder: Any = wrapped.prompt_encoder["default"]
    embed: Any = model.get_input_embeddings()
    ids = draw_tokens(config.common_ids, config.num_virtual_tokens, len(embed.weight))
    with torch.no_grad():
        # the layer's output, which the model reads: Gemma's layer scales its rows
        encoder.embedding.weight.copy_(embed(ids.to(embed.weight.device)))
    if config.framed_share:
        _frame_in_training(model, embed, config)
    return wrapped


def _frame_in_training(model: PreTrainedModel, embed: Any, config: Config) -> None:
    """Hook the model so that frames stand around its first n vectors in training.

    Whether and which is drawn from torch's global generator, as dropout's masks are.
    """
    n = config.num_virtual_tokens

    def frame(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        vectors = kwargs.get("inputs_embeds")  # (batch, n + seq, d)
        if not module.training or vectors is None or torch.rand(()) >= config.framed_share:
            return args, kwargs
        before, behind = config.frame_ids[int(torch.randint(len(config.frame_ids), ()))]
        parts = [_embedded(embed, ids, vectors) for ids in (before, behind)]
        framed = torch.cat([parts[0], vectors[:, :n], parts[1], vectors[:, n:]], dim=1)
        mask = kwargs["attention_mask"]  # (batch, n + seq)
        front = mask.new_ones(len(mask), len(before) + len(behind))
        mask = torch.cat([front, mask], dim=1)
        return args, kwargs | {"inputs_embeds": framed, "attention_mask": mask}

    model.register_forward_pre_hook(frame, with_kwargs=True)


def _embedded(embed: Any, ids: tuple[int, ...], vectors: torch.Tensor) -> torch.Tensor:
    """Embed token ids for each row of a batch, shape (batch, ids, d)."""
    rows = torch.tensor(ids, dtype=torch.long, device=vectors.device).expand(len(vectors), -1)
    return embed(rows).to(vectors)


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """n d for the vectors.

    Raises:
        InputError: n is below 1 or above the vocabulary's size, the share is no share, or token ids
            filled in by a user do not fit.
    """
    vocabulary, width = embedding(shapes)
    require("num_virtual_tokens", config.num_virtual_tokens, 1, vocabulary, "the vocabulary's size")
    require("framed_share", config.framed_share, 0, 1, "a share")
    ids = [token for frame in config.frame_ids for part in frame for token in part]
    if any(not 0 <= token < vocabulary for token in ids):
        raise InputError(
            f"frame_ids must hold token ids below {vocabulary}; leave it out to have it filled in "
            "from frames"
        )
    return config.num_virtual_tokens * width

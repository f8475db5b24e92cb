"""A trained prompt's states, computed once for all rows of a batch.

peft puts the same n vectors in front of each row. In a decoder their states depend on nothing
behind them, so a pass over one copy gives the keys and values that all rows read: n + b t tokens
instead of b (n + t) for b rows of t tokens. Logits and gradients are the same up to rounding. In
training this leaves out models with dropout, which differs by row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from peftlens.layers.prepend import behind_something, continues_caches
from peftlens.models.architecture import has_dropout

_TYPES = ("PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")  # of peft: vectors in front


@contextmanager
def prompt_computed_once(model: nn.Module, tokens: int) -> Iterator[None]:
    """Let forward passes without a cache compute a prompt once, of which they return no states.

    Other models, and rows that have nothing to share, are left as they are.

    Args:
        model: any model; changed where it is a decoder with a prompt of peft in front.
        tokens: t, the number of tokens of each row, with padding.
    """
    if not _has_shared_prompt(model):
        yield
        return
    inner: Any = model.get_base_model()  # pyright: ignore[reportCallIssue]

    def share(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        vectors = kwargs.get("inputs_embeds")  # (b, n + t, d), frames of the prompt included
        if vectors is None or len(vectors) == 1 or behind_something(kwargs):
            return args, kwargs
        n = vectors.shape[1] - tokens
        cache = inner.base_model(inputs_embeds=vectors[:1, :n], use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(vectors))
        rest = {"inputs_embeds": vectors[:, n:], "past_key_values": cache, "use_cache": True}
        return args, kwargs | rest  # the mask, (b, n + t), is that of all positions

    handle = inner.register_forward_pre_hook(share, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _has_shared_prompt(model: Any) -> bool:
    config = getattr(model, "active_peft_config", None)
    if config is None or config.peft_type not in _TYPES:
        return False
    inner = model.get_base_model()
    has_noise = inner.training and any(map(has_dropout, inner.modules()))
    return continues_caches(inner) and not has_noise

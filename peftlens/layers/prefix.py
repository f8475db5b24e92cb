"""Prefix: trained keys and values in front of every attention layer of the decoder.

Source: Li & Liang 2021, arXiv:2101.00190, section 4.2, without the reparametrizing network. A
prefix starts as the keys and values of real tokens, which they find best (section 7.4): noise draws
attention to values that mean nothing, and the loss before training is far above the base's. In an
encoder-decoder, whose decoder reads no prompt, it starts as noise of standard deviation 0.02.
"""

from inspect import signature
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from peftlens.errors import InputError, require
from peftlens.layers.initial_tokens import Ranges, draw_tokens
from peftlens.layers.prepend import behind_something
from peftlens.models.architecture import embedding_weight, key_widths, require_room
from peftlens.models.model_kind import kind_of
from peftlens.models.target_modules import Shapes


class Prefix(nn.Module):
    """n keys and values per layer, passed to the model as the cache of n earlier tokens.

    Args:
        model: the base model.
        num_virtual_tokens: n.
        common_ids: ranges of token ids from which the initial tokens are drawn.
    """

    def __init__(
        self, model: PreTrainedModel, num_virtual_tokens: int, common_ids: Ranges = ()
    ) -> None:
        super().__init__()
        require_room(model, num_virtual_tokens)
        start = initial_states(model, num_virtual_tokens, common_ids)
        self.states = nn.Parameter(start.to(model.device))

    def put_before(self, model: PreTrainedModel) -> None:
        """Hook the model so that every forward pass starts after the prefix."""
        owner: Any = model
        owner.prefix = self
        model.register_forward_pre_hook(self._prepend, with_kwargs=True)

    def layers(self) -> torch.Tensor:
        """Return keys and values, shape (layers, 2, heads, n, head size)."""
        return self.states

    def _prepend(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if behind_something(kwargs):
            return args, kwargs
        config: Any = model.config
        batch = len(kwargs["input_ids"])
        states = self.layers().to(model.dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
        cache: Any = DynamicCache()
        for layer, (keys, values) in enumerate(states):
            cache.update(*(s.expand(batch, -1, -1, -1) for s in (keys, values)), layer)
        mask = "decoder_attention_mask" if config.is_encoder_decoder else "attention_mask"
        decoder = ("decoder_input_ids", "labels") if config.is_encoder_decoder else ("input_ids",)
        ids = next(kwargs[name] for name in decoder if name in kwargs)
        seen = kwargs.get(mask)
        seen = torch.ones_like(ids) if seen is None else seen
        front = seen.new_ones(batch, self.states.shape[3])  # (batch, n)
        if config.is_encoder_decoder:
            cache = EncoderDecoderCache(cache, DynamicCache())
        extended = torch.cat([front, seen], dim=1)  # (batch, n + seq)
        return args, kwargs | {mask: extended, "past_key_values": cache, "use_cache": True}


def require_cache(model: PreTrainedModel) -> None:
    """Refuse an encoder whose attention takes no keys and values from before the input.

    Raises:
        InputError: it takes none, as those of DeBERTa and ModernBERT.
    """
    parts = (model, model.base_model)
    if kind_of(model.config) == "encoder" and not any(
        "past_key_values" in signature(part.forward).parameters for part in parts
    ):
        raise InputError(
            f"the attention of a {model.config.model_type} takes no keys and values from before "
            "the input, so no prefix fits it; use prompt_tuning, or an adapter"
        )


@torch.no_grad()
def initial_states(
    model: PreTrainedModel, num_virtual_tokens: int, common_ids: Ranges
) -> torch.Tensor:
    """Compute the initial keys and values, shape (layers, 2, heads, n, head size), float32.

    Raises:
        InputError: a range of token ids does not fit the vocabulary.
    """
    config: Any = model.config
    if config.is_encoder_decoder:
        layers, _, heads, _, size = _decoder_states(model).shape
        return 0.02 * torch.randn(layers, 2, heads, num_virtual_tokens, size)
    ids = draw_tokens(common_ids, num_virtual_tokens, len(embedding_weight(model)))
    cache: Any = DynamicCache()
    model(input_ids=ids[None].to(model.device), past_key_values=cache, use_cache=True)
    return _stacked(cache.layers)


def _decoder_states(model: PreTrainedModel) -> torch.Tensor:
    """Keys and values of the decoder's start token, shape (layers, 2, heads, 1, head size).

    The decoder's depth and heads may differ from the encoder's, which the configuration names.
    """
    config: Any = model.config
    ids = torch.full((1, 1), config.decoder_start_token_id, device=model.device)
    cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
    model(input_ids=ids, decoder_input_ids=ids, past_key_values=cache, use_cache=True)
    return _stacked(cache.self_attention_cache.layers)


def _stacked(layers: list[Any]) -> torch.Tensor:
    """Stack a cache's keys and values: (layers, 2, heads, n, head size), float32.

    Raises:
        InputError: some layers cache no keys, or keys and values differ in shape.
    """
    pairs: list[Any] = [(getattr(x, "keys", None), getattr(x, "values", None)) for x in layers]
    sizes = {tuple(part.shape) if part is not None else None for pair in pairs for part in pair}
    if len(sizes) != 1 or None in sizes:
        raise InputError(
            "this model's layers have keys and values of different shapes, or none: no prefix fits"
        )
    return torch.stack([torch.stack([keys[0], values[0]]) for keys, values in pairs]).float()


def geometry(config: Any) -> tuple[int, int, int]:
    """Return layers, key-value heads and head size by the configuration; a decoder's own."""
    config = config.get_text_config()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if config.is_encoder_decoder:  # whose general names are the encoder's
        layers = _first(config, "num_decoder_layers", "decoder_layers") or layers
        heads = _first(config, "decoder_attention_heads") or heads
    size = _first(config, "head_dim", "d_kv") or config.hidden_size // heads
    return layers, _first(config, "num_key_value_heads") or heads, size


def _first(config: Any, *names: str) -> int | None:
    return next((value for name in names if (value := getattr(config, name, None))), None)


def prefix_parameters(shapes: Shapes, num_virtual_tokens: int) -> int:
    """Number of parameters: a key and a value for each virtual token and layer.

    Raises:
        InputError: the number is below 1, or the model's key projections have unknown names.
    """
    require("num_virtual_tokens", num_virtual_tokens, 1)
    return 2 * num_virtual_tokens * sum(key_widths(shapes))

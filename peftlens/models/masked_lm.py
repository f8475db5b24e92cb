"""Head of an encoder that predicts masked tokens, on the states of any model tuned from it.

A run for a task has that task's head in place of the one that predicts masked tokens. The base's
head, with the base's own token embeddings, can still read the states of the run's body.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.models.heads import head_modules
from peftlens.models.model_kind import has_masked_lm_head


@dataclass(frozen=True)
class MaskedLM:
    """Head of a base model that predicts masked tokens.

    Attributes:
        model: the base as its file has it, whose body is not run; a second copy, so that nothing
            that a method changes is in the head.
    """

    model: Any

    @torch.inference_mode()
    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Predict tokens.

        Args:
            states: last hidden states of an encoder, shape (n, d).

        Returns:
            Logits over the vocabulary, shape (n, V), float32.
        """
        body = self.model.base_model
        # the output layer of some types reads the body's embeddings, so the body stays in place;
        # accelerate replaces `forward` in a base model on several devices
        original = vars(body).get("forward")
        body.forward = lambda *_, **__: BaseModelOutput(last_hidden_state=states[None])
        try:
            ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
            return self.model(input_ids=ids).logits[0].float()
        finally:
            del body.forward
            if original is not None:
                body.forward = original


def masked_lm(base: BaseModel) -> MaskedLM | None:
    """Return the head that predicts masked tokens; None if the base's file lacks any part of it.

    Args:
        base: base model, with a head for a task or without.
    """
    return base.derived("masked LM", lambda: _masked_lm(base))


def _masked_lm(base: BaseModel) -> MaskedLM | None:
    if base.kind != "encoder" or not has_masked_lm_head(base.model.config):
        return None
    plain = load_base_model(
        base.reference,
        device=base.device,  # pyright: ignore[reportArgumentType]
        dtype=base.dtype,  # pyright: ignore[reportArgumentType]
        trust_remote_code=base.trusted,
    )
    return None if head_modules(plain.model) else MaskedLM(plain.model)


@contextmanager
def recorded_states(base: BaseModel) -> Iterator[list[torch.Tensor]]:
    """Collect the last hidden states of an encoder during forward passes of a model tuned from it.

    Args:
        base: the base model, whose body the tuned model shares.

    Yields:
        A list that grows by one tensor a pass, shape (batch, seq, d), virtual tokens included.
    """
    states: list[torch.Tensor] = []
    body: nn.Module = base.model.base_model
    handle = body.register_forward_hook(lambda _, __, output: states.append(output[0]))
    try:
        yield states
    finally:
        handle.remove()

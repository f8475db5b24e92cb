"""Dummy inputs: random tokens for a forward pass."""

from typing import Any

import torch


def random_inputs(model: Any, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    """Make random token inputs (rows, tokens), the same for all models of one vocabulary size."""
    generator = torch.Generator().manual_seed(0)
    size = model.config.get_text_config().vocab_size
    ids = torch.randint(0, size, (rows, tokens), generator=generator).to(model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    return inputs

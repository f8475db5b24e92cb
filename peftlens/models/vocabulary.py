"""The vocabulary of a model: its embedding table, and tokens as people can read them."""

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from peftlens.anatomy import embedding_weight


def embedding_table(model: PreTrainedModel) -> NDArray[np.float32]:
    """Input embeddings, shape (V, d), float32."""
    return embedding_weight(model).detach().float().cpu().numpy()


def soft_prompt(model: Any) -> NDArray[np.float32]:
    """The trained prompt, shape (n, d), float32: what stands before the input's embeddings."""
    return model.get_prompt_embedding_to_save("default").detach().float().cpu().numpy()


def readable(tokenizer: Any, token_id: int) -> str:
    """A token as visible text: spaces as ␣, bytes that are no text and control marks as codes.

    Several ids can read the same: key by id.
    """
    if token_id >= len(tokenizer):
        return f"<id {token_id}>"
    text = tokenizer.decode([token_id])
    if "�" in text:  # part of a character; byte-level tokenizers name the byte by a letter
        return f"<{tokenizer.convert_ids_to_tokens(token_id)}>"
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character == " ":
        return "␣"
    # C*: control, format (bidi marks), surrogate, private, unassigned; Z*: separators
    hidden = unicodedata.category(character)[0] in "CZ"
    return f"<U+{ord(character):04X}>" if hidden else character

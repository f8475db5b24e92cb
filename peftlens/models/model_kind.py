"""Kind of a model: encoder, decoder or encoder-decoder, recognized from its configuration.

transformers opens a BERT as a causal language model without a word: every token then sees the ones
that it is to predict. The name of the saved class decides; where it is the bare model, or one with
a head of another task, the tables of transformers say which language models the type has.
"""

from typing import Any, Literal

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from peftlens.errors import InputError


class NotLanguageModelError(InputError):
    """Error of a model that predicts no text where text is to be predicted."""


Kind = Literal["encoder", "decoder", "encoder-decoder"]


def kind_of(config: Any) -> Kind:
    """Return the kind of a model by its configuration of transformers."""
    if config.is_encoder_decoder:
        return "encoder-decoder"
    of_type = config.model_type
    reads_back_only = getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    if of_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        # LayoutLMv2, CANINE and their like have a bare encoder only; unknown types run own code
        return "decoder"
    in_both_tables = of_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return "decoder" if in_both_tables and reads_back_only else "encoder"


def has_masked_lm_head(config: Any) -> bool:
    """Whether the file of an encoder holds a head that predicts masked tokens."""
    name = MODEL_FOR_MASKED_LM_MAPPING_NAMES.get(config.model_type)
    return name in (config.architectures or ())


HAS_HEAD = "this model has a head for its task and predicts no text; score it on its own task"


def require_language_model(kind: Kind, what: str) -> None:
    """Refuse an encoder where a model must predict next tokens.

    Args:
        kind: kind of the model.
        what: name of the model, for messages.

    Raises:
        NotLanguageModelError: it is an encoder.
    """
    if kind == "encoder":
        raise NotLanguageModelError(
            f"base {what!r} is an encoder, which predicts no next token: train it on a task with "
            "head = 'classification' (or kind = 'regression' or 'token_classification'), or use a "
            "decoder or an encoder-decoder"
        )

"""Origin of an adapter: its base model's name and vocabulary hash, as stored in the file."""

from dataclasses import dataclass

from peftlens.io.files import canonical_json, sha256_text


@dataclass(frozen=True)
class Origin:
    """Base model of an adapter, as stored in the adapter's file.

    Attributes:
        base: name of the base model.
        vocabulary: digest of its vocabulary, see `vocabulary_sha256`; None without a tokenizer.
    """

    base: str
    vocabulary: str | None = None


def vocabulary_sha256(vocabulary: dict[str, int]) -> str:
    """Hash the token ids; equal for tokenizers that assign every token the same id."""
    return sha256_text(canonical_json(vocabulary))

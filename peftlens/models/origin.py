"""What an adapter's file says of the base that it was trained on."""

from dataclasses import dataclass

from peftlens.io.files import canonical_json, sha256_text


@dataclass(frozen=True)
class Origin:
    """What an adapter's file says of its base.

    Attributes:
        base: its name.
        vocabulary: see `vocabulary_sha256`; None where no tokenizer is at hand.
    """

    base: str
    vocabulary: str | None = None


def vocabulary_sha256(vocabulary: dict[str, int]) -> str:
    """Equal for tokenizers that give every token the same id, whatever else they differ in."""
    return sha256_text(canonical_json(vocabulary))

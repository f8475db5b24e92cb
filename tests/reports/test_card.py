import pytest

from peftlens.reports.card import Card


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("83 %", ("83", "%")),
        ("+0.138 nats per token", ("+0.138", "nats per token")),
        ("57.6k", ("57.6k", "")),
        ("Undecided", ("Undecided", "")),
        ("Readable trace", ("Readable trace", "")),
        ("LoRA, rank 8", ("LoRA, rank 8", "")),
        ("", ("", "")),
    ],
)
def test_a_unit_is_smaller_than_its_number(value, parts):
    card = Card("t", value)
    assert (card.number, card.unit) == parts

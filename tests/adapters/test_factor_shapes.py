import pytest

from peftlens.adapters.factor_shapes import mismatch


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("LORA", {"lora_A": (8, 32), "lora_B": (16, 8)}),
        ("LORA", {"lora_A": (8, 3, 3, 3), "lora_B": (16, 8, 1, 1)}),
        ("ADALORA", {"lora_A": (0, 32), "lora_B": (16, 0), "lora_E": (0, 1)}),
        ("LOKR", {"lokr_w1": (4, 4), "lokr_w2": (8, 8)}),
        ("IA3", {"ia3_l": (32, 1)}),
    ],
)
def test_what_can_be_multiplied(kind, shapes):
    assert mismatch(kind, shapes) is None


@pytest.mark.parametrize(
    ("kind", "shapes", "part"),
    [
        ("LORA", {"lora_A": (8, 32), "lora_B": (16, 4)}, "lora_B"),
        ("LORA", {"lora_embedding_A": (8, 50), "lora_embedding_B": (16, 4)}, "embedding_B"),
        ("ADALORA", {"lora_A": (8, 32), "lora_B": (16, 8), "lora_E": (4, 1)}, "lora_E"),
        ("LOHA", {"hada_w1_a": (16, 8), "hada_w1_b": (4, 32)}, "hada_w1_a"),
        ("VERA", {"vera_A": (1, 8, 32), "vera_B": (16, 8)}, "vera_A"),
    ],
)
def test_what_can_not(kind, shapes, part):
    assert part in (mismatch(kind, shapes) or "")

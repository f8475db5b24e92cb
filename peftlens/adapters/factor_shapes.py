"""Factor shapes: whether the factors of one weight can be multiplied, from their shapes alone."""

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

# By type: products of the update, each as a left and a right factor, and the axes that must agree.
_PRODUCTS: dict[str, tuple[tuple[str, int, str, int], ...]] = {
    "LORA": (("lora_B", 1, "lora_A", 0), ("lora_embedding_B", 1, "lora_embedding_A", 0)),
    "ADALORA": (("lora_B", 1, "lora_A", 0), ("lora_E", 0, "lora_A", 0)),
    "LOHA": (
        ("hada_w1_a", 1, "hada_w1_b", 0), ("hada_w2_a", 1, "hada_w2_b", 0),
        ("hada_w1_a", 0, "hada_w2_a", 0), ("hada_w1_b", 1, "hada_w2_b", 1),
    ),
    "VERA": (("vera_B", 1, "vera_A", 0),),
    "LOKR": (("lokr_w1_a", 1, "lokr_w1_b", 0), ("lokr_w2_a", 1, "lokr_w2_b", 0)),
}  # fmt: skip
# By type: beginnings of the parts that are matrices.
_MATRICES = {"ADALORA": ("lora_",), "VERA": ("vera_A", "vera_B"), "LOHA": ("hada_w",)}


def mismatch(kind: str, shapes: Shapes) -> str | None:
    """Describe two factors of a weight that can't be multiplied, if there are any.

    Args:
        kind: type of the adapter.
        shapes: shapes of the weight's factors, by part, such as lora_A.
    """
    for left, axis, right, other in _PRODUCTS.get(kind, ()):
        if left not in shapes or right not in shapes:
            continue
        one, two = shapes[left], shapes[right]
        if len(one) <= axis or len(two) <= other or one[axis] != two[other]:
            return f"{left} of shape {list(one)} and {right} of shape {list(two)}"
    matrices = _MATRICES.get(kind, ())
    deep = [
        n for n, shape in shapes.items() if matrices and n.startswith(matrices) and len(shape) != 2
    ]
    return f"{deep[0]}, which is not a matrix" if deep else None

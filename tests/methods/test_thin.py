"""Methods that only hand a configuration to peft: what they train, and what they refuse.

The tiny Llama has three blocks; q is 32 x 32, v is 16 x 32 (out x in).
"""

import pytest
from tiny import build

from peftlens import registry
from peftlens.errors import InputError
from peftlens.models.architecture import shapes

LOW_RANK = 3 * 4 * ((32 + 32) + (16 + 32))  # B and A of rank 4
ONE = "must be finite and at least 1"
SIDE = "must lie between 1 and 16"

TABLE = [
    ("rslora", {"rank": 4}, LOW_RANK, {"rank": 0}, f"rank=0 {SIDE}"),
    ("dora", {"rank": 4}, LOW_RANK + 3 * (32 + 16), {"alpha": 0}, "alpha=0 must be"),
    ("pissa", {"rank": 4}, LOW_RANK, {"rank": 17}, f"rank=17 {SIDE}"),
    ("olora", {"rank": 4}, LOW_RANK, {"target_modules": ["query"]}, "'query' matches no layer"),
    ("vera", {"rank": 5}, 3 * (32 + 5 + 16 + 5), {"rank": 0}, f"rank=0 {ONE}"),
    ("loha", {"rank": 4}, 2 * LOW_RANK, {"alpha": -1}, "alpha=-1 must be"),
    # 32 = 4 * 8 and 16 = 4 * 4; C is 4 x 4, B A of rank 2 is 8 x 8, or 4 x 8 for v
    ("lokr", {"rank": 2}, 3 * (16 + 2 * (8 + 8) + 16 + 2 * (4 + 8)), {"rank": 17},
     f"rank=17 {SIDE}"),
    # full factors where rank 4 saves nothing: 8 x 8 and 4 x 8
    ("lokr", {"rank": 4}, 3 * (16 + 8 * 8 + 16 + 4 * 8), {"alpha": 0}, "alpha=0 must be"),
    # 32 / 8 blocks of 8 * 7 / 2 angles
    ("oft", {"block_size": 8}, 3 * 2 * 4 * 28, {"block_size": 5}, "block_size=5 must divide 32"),
    ("boft", {"block_size": 4}, 3 * (32 * 4 + 32 + 32 * 4 + 16), {"block_size": 5},
     "block_size=5 must divide 32"),
    ("hra", {"rank": 4}, 3 * 4 * (32 + 32), {"rank": 3}, "rank=3 must be even"),
    ("miss", {"rank": 4}, 3 * 4 * (32 + 16), {"rank": 0}, f"rank=0 {SIDE}"),
    ("fourierft", {"num_frequencies": 10}, 3 * 2 * 10, {"num_frequencies": 513},
     "num_frequencies=513 must lie between 1 and 512"),
    # 32 / 4 pairs of 4 and 32 numbers for q; 16 / 4 pairs of 4 and 16 for v
    ("randlora", {"rank": 4}, 3 * (8 * (4 + 32) + 4 * (4 + 16)), {"alpha": 0}, "alpha=0 must be"),
    # a bank of 8 x 16; rank 2, 4 and 3 pieces of 16 a direction, 8 weights a piece
    ("vblora", {"rank": 2, "num_vectors": 8, "vector_length": 16}, 8 * 16 + 3 * 2 * 8 * (4 + 3),
     {"vector_length": 5}, "vector_length=5 must divide 32"),
    ("hira", {"rank": 4}, LOW_RANK, {"rank": 17}, f"rank=17 {SIDE}"),
    ("delora", {"rank": 4}, LOW_RANK + 3 * 2, {"strength": 0}, "strength=0 must be"),
    ("c3a", {"block_size": 8}, 3 * (32 * 32 + 16 * 32) // 8, {"block_size": 5},
     "block_size=5 must divide 32"),
    ("road", {"group_size": 8}, 3 * (32 + 16), {"group_size": 64}, "group_size=64 must divide 32"),
    ("tinylora", {"vector_size": 5}, 3 * 2 * 5, {"vector_size": 0}, f"vector_size=0 {ONE}"),
    ("shira", {"rank": 4}, LOW_RANK, {"rank": 11}, "rank=11 needs more entries"),
    ("supertuning", {"density": 0.25}, 3 * (256 + 128), {"density": 0}, "density=0 must lie"),
    # half of 32 directions and half of 16, each with two vectors and a value
    ("osf", {"frozen_share": 0.5}, 3 * (16 * (32 + 32 + 1) + 8 * (16 + 32 + 1)),
     {"frozen_share": 1}, "frozen_share=1 must lie between 0.01 and 0.99"),
    ("beft", {}, 3 * (32 + 16), {"target_modules": ["query"]}, "'query' matches no layer"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "options", "count"), [(name, good, count) for name, good, count, *_ in TABLE]
)
def test_count_by_hand(method, options, count):
    model, module = build("llama"), registry.load("methods", method)
    config = registry.configure("methods", method, options)
    assert module.trainable_parameters(config, shapes(model)) == count
    wrapped = module.attach(model, config)
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == count


@pytest.mark.parametrize(
    ("method", "options", "message"), [(name, bad, message) for name, _, _, bad, message in TABLE]
)
def test_a_value_that_can_not_work(method, options, message):
    config = registry.configure("methods", method, options)
    with pytest.raises(InputError, match=message):
        registry.load("methods", method).trainable_parameters(config, shapes(build("llama")))


def test_a_share_of_directions_that_rounds_to_none_is_refused_before_peft_sees_it():
    osf = registry.load("methods", "osf")
    with pytest.raises(InputError, match="frozen_share=0.05"):  # 0.05 * 16 is below one
        osf.trainable_parameters(osf.Config(frozen_share=0.05), shapes(build("llama")))


def test_pairs_need_groups_of_an_even_size():
    road = registry.load("methods", "road")
    config = road.Config(group_size=3, target_modules=("q_proj",))
    with pytest.raises(InputError, match="group_size=3"):
        road.trainable_parameters(config, {"layers.0.q_proj.weight": (6, 6)})

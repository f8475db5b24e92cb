import pytest

from peftlens.models.architecture import part_of
from peftlens.models.base_model import load_base_model
from peftlens.probes.base_parameters import measure


def test_every_parameter_counts_once(context, lora):
    rows = measure(context, lora).set_index("part")
    assert rows["parameters"].sum() == lora.record.results["base_parameters"]
    assert rows["share"].sum() == pytest.approx(1)
    # query and output 32 x 32, key and value 16 x 32; gate, up and down 64 x 32; three blocks
    assert rows.loc["attention", "parameters"] == 3 * (2 * 32 * 32 + 2 * 16 * 32)
    assert rows.loc["feed_forward", "parameters"] == 3 * 3 * 64 * 32


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_every_architecture_has_all_parts(bases, kind):
    shapes = load_base_model(str(bases[kind]), device="cpu", dtype="float32").shapes
    assert {part_of(name) for name in shapes} == {
        "attention", "feed_forward", "embeddings", "other"
    }  # fmt: skip
    assert all(part_of(name) == "other" for name in shapes if "norm" in name)

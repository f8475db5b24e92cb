import pytest
from charts import rows

from peftlens.claims.placement import verdict

WIDE = "lora rank=8 target_modules=all_linear"


@pytest.mark.parametrize(
    ("accuracy", "width", "outcome"),
    [
        (0.80, 0.005, "supported"),
        (0.80, 0.05, "insufficient evidence"),
        (0.70, 0.05, "contradicted"),
    ],
)
@pytest.mark.parametrize(
    "attention",
    ["lora rank=8", "lora rank=8 target_modules=attention",
     "lora target_modules=query_value alpha=4 rank=8",
     "lora rank=8 target_modules=q_proj,k_proj,v_proj,o_proj"],
)  # fmt: skip
def test_attention_alone_against_more(attention, accuracy, width, outcome):
    found, sentence, _ = verdict(
        rows({attention: {"accuracy": accuracy, "width": width}, WIDE: {}})
    )
    assert found == outcome
    assert f"({attention}, 100 parameters)" in sentence


def test_the_best_of_either_counts():
    found, _, _ = verdict(
        rows(
            {
                "lora rank=1": {"accuracy": 0.9, "validation_accuracy": 0.5},
                "lora rank=8": {"accuracy": 0.5},
                WIDE: {"accuracy": 0.6},
            }
        )
    )
    assert found == "contradicted"  # the best on the test does not count


def test_one_placement_is_no_comparison():
    assert verdict(rows({"lora rank=1": {}, "lora rank=8": {}}))[0] == "not measured"


@pytest.mark.parametrize("layers", ["q_proj,up_proj", "attention,feed_forward"])
def test_attention_and_more_is_not_attention_alone(layers):
    wide = f"lora target_modules={layers} rank=8"
    found, sentence, _ = verdict(rows({"lora alpha=4 rank=8": {}, wide: {"accuracy": 0.9}}))
    assert found == "contradicted"
    assert f"feed-forward layers ({wide}, 100)" in sentence

"""Features of adapters that plain peft has made."""

import peft
import pytest
import theirs

from peftlens.adapters.adapter_file import read
from peftlens.inspection.adapter_features import FEATURES, listed
from peftlens.models.outline import Outline

BASE = Outline("LlamaForCausalLM", {"model.layers.0.mlp.gate_proj": (64, 32)}, {}, 3, 259, True)


def features(folder) -> set[str]:
    file = read(folder)
    return {name for name, feature in FEATURES.items() if feature(file, BASE)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"use_rslora": True}, {"rslora"}),
        ({"use_rslora": True, "r": 1}, set()),  # alpha / sqrt(1) is alpha / 1
        ({"rank_pattern": {"q_proj": 8}}, set()),  # the common rank
        ({"rank_pattern": {"q_proj": 4}}, {"rank_pattern"}),
        ({"alpha_pattern": {"q_proj": 4}}, {"alpha_pattern"}),
        # peft takes every module whose name ends so, input_layernorm too
        ({"modules_to_save": ["norm"]}, {"norms", "outer_weights", "block_weights"}),
        ({"modules_to_save": ["input_layernorm"]}, {"norms", "block_weights"}),
        ({"modules_to_save": ["lm_head"]}, {"other_weights", "outer_weights"}),
        ({"trainable_token_indices": [5]}, {"token_rows"}),
        ({"target_modules": r".*\.(q|v)_proj"}, {"target_expression"}),
        ({"target_modules": ["up_proj"]}, {"up_without_gate"}),
        ({"target_modules": ["k_proj"]}, {"query_without_value"}),
        ({"init_lora_weights": "olora"}, {"base_in_factors"}),
    ],
)
def test_an_option_of_peft_is_its_feature(options, expected, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA", **options), tmp_path, "base")
    assert features(folder) == expected


def test_other_types_are_told_apart(tmp_path):
    for kind, expected in [("IA3", {"other_type"}), ("PREFIX_TUNING", {"prompt"})]:
        folder = theirs.save(theirs.wrapped(kind), tmp_path / kind, "base")
        assert features(folder) == expected


def test_a_classification_head_is_told(tmp_path):
    from tiny import build
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification(build("llama").config)
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj", "v_proj"])
    peft.get_peft_model(model, config).save_pretrained(tmp_path)
    assert features(tmp_path) == {"head"}


def test_long_lists_are_shortened():
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed(["a"]) == "a"

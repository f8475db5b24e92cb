import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tiny import build

from peftlens import registry
from peftlens.errors import InputError
from peftlens.methods import peft as generic
from peftlens.methods.peft import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def trained(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_options_stand_beside_the_type():
    config = registry.configure("methods", "peft:GRALORA", {"r": 4})
    assert config == Config(peft_type="GRALORA", options={"r": 4})
    assert attach(build("llama"), config).peft_config["default"].r == 4


def test_lora_by_its_type_is_lora():
    options = {"r": 2, "target_modules": ["q_proj"]}
    wrapped = attach(build("llama"), Config(peft_type="LORA", options=options))
    assert trained(wrapped) == 3 * 2 * (32 + 32)


def test_targets_are_query_and_value_unless_said():
    wrapped = attach(build("llama"), Config(peft_type="LORA", options={"r": 2}))
    assert trained(wrapped) == 3 * 2 * (32 + 32 + 16 + 32)


def test_one_target_may_be_a_plain_string():
    options = {"r": 2, "target_modules": "feed_forward"}
    wrapped = attach(build("llama"), Config(peft_type="LORA", options=options))
    assert trained(wrapped) == 3 * 2 * 3 * (32 + 64)


def test_a_prompt_by_its_type():
    options = {"num_virtual_tokens": 3}
    wrapped = attach(build("llama"), Config(peft_type="PROMPT_TUNING", options=options))
    assert trained(wrapped) == 3 * 32


def test_count_is_not_known_before():
    assert trainable_parameters(Config(peft_type="LORA"), shapes(build("llama"))) is None


def test_methods_for_many_tasks_are_told_of_one():
    wrapped = attach(build("llama"), Config(peft_type="POLY", options={"r": 2}))
    ids = torch.tensor([[5, 6, 7]])
    assert wrapped(input_ids=ids).logits.shape == (1, 3, 259)


@pytest.mark.parametrize(
    ("peft_type", "options", "message"),
    [
        ("LOAR", {}, "peft has no type 'LOAR'; did you mean LORA"),
        ("", {}, "peft has no type ''"),
        ("XLORA", {}, "peft:XLORA is not supported: it mixes LoRA adapters"),
        ("ADALORA", {}, "peft:ADALORA is not supported: .* use the method adalora"),
        ("LORA", {"rank": 4}, "peft:LORA has no option 'rank'; did you mean r"),
        ("LORA", {"init_lora_weights": "eva"}, "init_lora_weights='eva' is not supported"),
        ("LORA", {"target_modules": ["query"]}, "'query' matches no layer"),
        ("LORA", {"init_lora_weights": "olora"}, "'olora' is not supported: .* the method olora"),
        ("LORA", {"init_lora_weights": "OLoRA"}, "'OLoRA' is not supported"),
        ("LORA", {"bias": "all"}, "bias='all' trains the base model's biases in place"),
        ("PROMPT_TUNING", {"num_virtual_tokens": 0}, "num_virtual_tokens=0 must be"),
        ("PROMPT_TUNING", {"num_virtual_tokens": "x"}, "num_virtual_tokens='x' must be"),
    ],
)
def test_values_that_can_not_work(peft_type, options, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(Config(peft_type=peft_type, options=options), shapes(build("llama")))


def test_what_peft_refuses_is_the_users_mistake():
    config = Config(peft_type="LORA", options={"r": 0})
    with pytest.raises(InputError, match="peft:LORA: `r` should be a positive integer"):
        attach(build("llama"), config)


@pytest.mark.parametrize(
    ("peft_type", "expected"),
    [
        ("GRALORA", {"delta_weight"}),
        ("PROMPT_TUNING", {"soft_prompt", "token_vectors"}),
        ("TRAINABLE_TOKENS", {"delta_weight", "token_vectors"}),
        ("PREFIX_TUNING", {"prefix", "token_vectors"}),
        ("POLY", set()),
    ],
)
def test_probes_may_ask_by_the_type(peft_type, expected):
    assert registry.exposed(f"peft:{peft_type}", {}) == expected


def test_every_type_of_peft_has_a_file_or_is_listed_or_refused():
    own = {name.replace("_", "").upper() for name in registry.names("methods")}
    listed = {*generic.TYPES, *generic.UNSUPPORTED}
    known = {str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert listed <= known
    assert {kind for kind in known - listed if kind.replace("_", "") not in own} == set()

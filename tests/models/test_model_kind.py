import pytest
import transformers as hf
from tiny import ENCODERS, build, build_encoder

from peftlens.models.model_kind import (
    NotLanguageModelError,
    has_masked_lm_head,
    kind_of,
    require_language_model,
)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name):
    config = build_encoder(name).config
    assert kind_of(config) == "encoder"
    config.architectures = [type(build_encoder(name)).__name__]
    assert has_masked_lm_head(config)
    config.architectures = ["BertModel"]
    assert not has_masked_lm_head(config)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "opt"])
def test_decoders(name):
    assert kind_of(build(name).config) == "decoder"


def test_encoder_decoders():
    assert kind_of(build("t5").config) == "encoder-decoder"
    assert kind_of(hf.BartConfig()) == "encoder-decoder"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (hf.BertConfig(is_decoder=True), "decoder"),
        (hf.BertConfig(architectures=["BertForSequenceClassification"]), "encoder"),
        (hf.XLMConfig(causal=True), "decoder"),
        (hf.XLMConfig(), "encoder"),
        (hf.DistilBertConfig(), "encoder"),
        (hf.LlamaConfig(architectures=["LlamaForSequenceClassification"]), "decoder"),
    ],
)
def test_types_that_exist_in_both_kinds(config, expected):
    assert kind_of(config) == expected


def test_an_encoder_predicts_no_text():
    require_language_model("decoder", "mine")
    require_language_model("encoder-decoder", "mine")
    with pytest.raises(NotLanguageModelError, match="base 'mine' is an encoder, which predicts no"):
        require_language_model("encoder", "mine")

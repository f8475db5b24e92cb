"""The lists of vLLM's models do not contradict each other, and name classes of transformers."""

import transformers

from peftlens.inspection import vllm_models


def test_a_model_without_lora_has_no_tables_with_lora():
    for names in (vllm_models.WITH_TABLES, vllm_models.STACKED_EXPERTS,
                  vllm_models.PLAIN_NAMES_TOO):  # fmt: skip
        assert not names & vllm_models.WITHOUT_LORA


def test_well_known_models_are_where_they_belong():
    assert "GPT2LMHeadModel" in vllm_models.WITHOUT_LORA
    assert "LlamaForCausalLM" in vllm_models.WITH_TABLES
    assert "Qwen2ForCausalLM" not in vllm_models.WITH_TABLES | vllm_models.WITHOUT_LORA
    assert hasattr(transformers, "GptOssForCausalLM")
    assert "GptOssForCausalLM" in vllm_models.STACKED_EXPERTS

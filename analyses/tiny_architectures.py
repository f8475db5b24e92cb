"""Tiny random models of 24 architectures, with the tokenizer of the tests."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tiny import SIZES, byte_tokenizer

_WIDE: dict[str, Any] = SIZES | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
_GROUPED: dict[str, Any] = _WIDE | {"num_key_value_heads": 2}  # two queries share a key
_SHORT: dict[str, Any] = SIZES | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_FALCON: dict[str, Any] = SIZES | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
_ROUTED: dict[str, Any] = {
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}
_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
    "dropout": 0.0,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 1,
}
_T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}
_OPT: dict[str, Any] = {
    "ffn_dim": 64,
    "word_embed_proj_dim": 16,
    "do_layer_norm_before": False,
    "dropout": 0.0,
}

# name: class and configuration
_MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bart": lambda: (hf.BartForConditionalGeneration, hf.BartConfig(**SIZES, **_BART)),
    "bloom": lambda: (
        hf.BloomForCausalLM,
        hf.BloomConfig(**SIZES, hidden_size=32, n_layer=2, n_head=4),
    ),
    "cohere": lambda: (hf.CohereForCausalLM, hf.CohereConfig(**_GROUPED)),
    "deepseek_v3": lambda: (
        hf.DeepseekV3ForCausalLM,
        hf.DeepseekV3Config(**_WIDE, **_LATENT, **_ROUTED),
    ),
    "falcon": lambda: (
        hf.FalconForCausalLM,
        hf.FalconConfig(**_FALCON, num_kv_heads=2, new_decoder_architecture=True),
    ),
    "falcon_multi_query": lambda: (
        hf.FalconForCausalLM,
        hf.FalconConfig(**_FALCON, multi_query=True),
    ),
    "gemma": lambda: (hf.GemmaForCausalLM, hf.GemmaConfig(**_GROUPED, head_dim=16)),
    "gemma2": lambda: (
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config(**_GROUPED, head_dim=16, sliding_window=64),
    ),
    "gemma3": lambda: (
        hf.Gemma3ForCausalLM,
        hf.Gemma3TextConfig(**_GROUPED, head_dim=16, sliding_window=64),
    ),
    "gpt_bigcode": lambda: (hf.GPTBigCodeForCausalLM, hf.GPTBigCodeConfig(**_SHORT)),
    "gpt_oss": lambda: (
        hf.GptOssForCausalLM,
        hf.GptOssConfig(
            **_GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=64
        ),
    ),
    "gptj": lambda: (hf.GPTJForCausalLM, hf.GPTJConfig(**_SHORT, rotary_dim=4)),
    "granite": lambda: (
        hf.GraniteForCausalLM,
        hf.GraniteConfig(**_GROUPED, embedding_multiplier=12.0),
    ),
    "mamba": lambda: (
        hf.MambaForCausalLM,
        hf.MambaConfig(**SIZES, hidden_size=32, state_size=8, num_hidden_layers=2),
    ),
    "mistral": lambda: (hf.MistralForCausalLM, hf.MistralConfig(**_GROUPED)),
    "mixtral": lambda: (
        hf.MixtralForCausalLM,
        hf.MixtralConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2),
    ),
    "mpt": lambda: (
        hf.MptForCausalLM,
        hf.MptConfig(**SIZES, d_model=32, n_layers=2, n_heads=4, max_seq_len=256),
    ),
    "mt5": lambda: (
        hf.MT5ForConditionalGeneration,
        hf.MT5Config(**SIZES, **_T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
    "olmo2": lambda: (hf.Olmo2ForCausalLM, hf.Olmo2Config(**_GROUPED)),
    "opt_350m": lambda: (
        hf.OPTForCausalLM,
        hf.OPTConfig(**_FALCON, **_OPT, max_position_embeddings=256),
    ),
    "phi": lambda: (hf.PhiForCausalLM, hf.PhiConfig(**_WIDE)),
    "phi3": lambda: (hf.Phi3ForCausalLM, hf.Phi3Config(**_GROUPED)),
    "qwen3": lambda: (hf.Qwen3ForCausalLM, hf.Qwen3Config(**_GROUPED, head_dim=16)),
    "stablelm": lambda: (hf.StableLmForCausalLM, hf.StableLmConfig(**_GROUPED)),
}
NAMES = tuple(_MODELS)


def build(name: str) -> Any:
    """Build a model of random weights, the same in every call."""
    torch.manual_seed(0)
    kind, config = _MODELS[name]()
    return kind(config).eval()


def save(name: str, folder: Path) -> str:
    """Save a model and the tokenizer, and return the folder's path."""
    build(name).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)

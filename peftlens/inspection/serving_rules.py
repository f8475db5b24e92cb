"""Serving rules: what vLLM, SGLang, llama.cpp and transformers do with features of an adapter.

Each rule was read in the program's own source, and holds for the version beside it; behavior that
could not be found there is in no rule. The features are those of `adapter_features`.
"""

from dataclasses import dataclass
from typing import Literal

# refused: the program loads nothing. wrong: it loads the adapter and computes something else.
# ignored: it loads the rest without a word. needs: it works with an option.
Effect = Literal["refused", "wrong", "ignored", "needs"]

_MERGE = "merge it (`peftlens merge`), and serve the merged model"


@dataclass(frozen=True)
class Rule:
    """What a program does with an adapter that has a feature.

    Attributes:
        feature: name of the feature, one of `adapter_features.FEATURES`.
        effect: consequence for the whole adapter.
        text: what the program does, and the remedy.
        source: file of the program that says so.
    """

    feature: str
    effect: Effect
    text: str
    source: str


@dataclass(frozen=True)
class Program:
    """A program that serves adapters.

    Attributes:
        name: name of the program.
        version: version in which its rules were read.
        rules: its rules.
        names: file that decides which modules' names it accepts.
        ranks: possible largest ranks, in rising order; empty without a limit.
        default_rank: largest rank without an option.
    """

    name: str
    version: str
    rules: tuple[Rule, ...]
    names: str
    ranks: tuple[int, ...] = ()
    default_rank: int | None = None


_SCALE = (
    "save it with use_rslora=false and lora_alpha = alpha * sqrt(rank), which is the same update"
)
_PATTERN_SCALE = "multiply each module's lora_B by its own scale over the common one, and remove it"

_PEFT_HELPER = "vllm/lora/peft_helper.py"
_VLLM_HEADS = "the classification heads score and classifier of modules_to_save"
_VLLM_NAMES = "vllm/lora/lora_model.py"
VLLM = Program(
    "vLLM",
    "0.33.0",
    (
        Rule("other_type", "refused", f"it reads LoRA only; {_MERGE}", _PEFT_HELPER),
        Rule("prompt", "refused", "it reads LoRA only; prepend the prompt by transformers and peft",
             _PEFT_HELPER),
        Rule("dora", "refused", f"it does not support DoRA; {_MERGE}", _PEFT_HELPER),
        Rule("bias", "refused", f"it does not support trained biases; {_MERGE}", _PEFT_HELPER),
        Rule("outer_weights", "refused", f"it takes only {_VLLM_HEADS}; {_MERGE}", _PEFT_HELPER),
        Rule("block_weights", "refused", f"it takes only {_VLLM_HEADS}; {_MERGE}", _PEFT_HELPER),
        Rule("token_rows", "refused", f"it has no place for rows of single tokens; {_MERGE}",
             "vllm/lora/utils.py"),
        Rule("base_in_factors", "refused", "its factors hold a part of the base's weights; convert "
             "it by peft's path_initial_model_for_weight_conversion", _PEFT_HELPER),
        Rule("activated", "refused", "it does not support activated LoRA", _PEFT_HELPER),
        Rule("replicated_layers", "refused", "it does not support layer_replication",
             _PEFT_HELPER),
        Rule("block_diagonal", "refused", "it does not support block-diagonal LoRA", _PEFT_HELPER),
        Rule("quantization_aware", "refused", "it does not support QALoRA", _PEFT_HELPER),
    ),
    names=_VLLM_NAMES,
    ranks=(1, 8, 16, 32, 64, 128, 256, 320, 512),
    default_rank=16,
)  # fmt: skip

_SGL_MANAGER = "sglang/srt/lora/lora_manager.py"
_SGL_LORA = "sglang/srt/lora/lora.py"
_SGL_UTILS = "sglang/srt/lora/utils.py"
_SGL_POOL = "sglang/srt/lora/mem_pool.py"
SGLANG = Program(
    "SGLang",
    "0.5.23",
    (
        Rule("other_type", "refused", f"it reads LoRA only; {_MERGE}", _SGL_LORA),
        Rule("prompt", "refused", "it reads LoRA only; prepend the prompt by transformers and peft",
             _SGL_LORA),
        Rule("dora", "refused", f"it does not support DoRA; {_MERGE}", _SGL_MANAGER),
        Rule("rslora", "wrong", "it scales every update by alpha / rank and does not read "
             f"use_rslora; {_SCALE}", _SGL_LORA),
        Rule("alpha_pattern", "wrong", "it scales every update by the common alpha / rank and does "
             f"not read alpha_pattern; {_PATTERN_SCALE}", _SGL_LORA),
        Rule("rank_pattern", "refused", "it copies every factor into rows of the common rank, and "
             "does not read rank_pattern; pad the factors with zeros to one rank", _SGL_POOL),
        Rule("bias", "refused", f"it takes a bias for a factor lora_B; {_MERGE}", _SGL_POOL),
        Rule("outer_weights", "ignored", f"it leaves them out without a word; {_MERGE}",
             _SGL_LORA),
        Rule("head", "ignored", f"it leaves it out without a word; {_MERGE}", _SGL_LORA),
        Rule("block_weights", "refused", f"it knows no target module for them; {_MERGE}",
             _SGL_UTILS),
        Rule("token_rows", "ignored", f"it leaves out rows of single tokens; {_MERGE}", _SGL_LORA),
        Rule("added_tokens", "refused", "it does not support adapters with added tokens; "
             f"{_MERGE}", _SGL_MANAGER),
        Rule("target_expression", "refused", "it reads a list of target_modules, or all-linear, "
             "and no regular expression; write the list of their last parts", _SGL_UTILS),
        Rule("query_without_value", "refused", "it stacks q_proj, k_proj and v_proj, and needs "
             "q_proj and v_proj together; add the missing factors as zeros", _SGL_LORA),
        Rule("up_without_gate", "refused", "it stacks gate_proj and up_proj, and needs gate_proj "
             "for up_proj; add the missing factors as zeros", _SGL_LORA),
    ),
    names=_SGL_UTILS,
)  # fmt: skip

_CONVERT = "convert_lora_to_gguf.py"
LLAMA_CPP = Program(
    "llama.cpp",
    "commit 0b03adaa",
    (
        Rule("other_type", "refused", f"it converts LoRA only; {_MERGE}", _CONVERT),
        Rule("prompt", "refused", "it converts LoRA only; prepend the prompt by transformers and "
             "peft", _CONVERT),
        Rule("dora", "refused", f"it stops at lora_magnitude_vector; {_MERGE}", _CONVERT),
        Rule("rslora", "wrong", "it scales every update by alpha / rank and does not read "
             f"use_rslora; {_SCALE}", "src/llama-adapter.h"),
        Rule("alpha_pattern", "wrong", "it scales every update by the common alpha over its rank "
             f"and does not read alpha_pattern; {_PATTERN_SCALE}", "src/llama-adapter.h"),
        Rule("bias", "refused", f"it stops at biases; {_MERGE}", _CONVERT),
        Rule("other_weights", "refused", f"it stops at whole weights; {_MERGE}", _CONVERT),
        Rule("head", "refused", f"it stops at whole weights; {_MERGE}", _CONVERT),
        Rule("norms", "ignored", "it converts the norms' weights, and loads the adapter without "
             f"them; {_MERGE}", "src/llama-adapter.cpp"),
        Rule("token_rows", "refused", f"it stops at rows of single tokens; {_MERGE}", _CONVERT),
        Rule("tied_head", "refused", "a base with tied tables has no output.weight to add to; "
             f"{_MERGE}", "src/llama-adapter.cpp"),
    ),
    names=_CONVERT,
)  # fmt: skip

_INJECT = "peft/mapping.py"
TRANSFORMERS = Program(
    "transformers",
    "5.23.0 with peft 0.21.2",
    (
        Rule("own_method", "refused", "no type of peft; open it by peftlens.load, or merge it "
             "(`peftlens merge`)", _INJECT),
        Rule("prompt", "needs", "load it by peft's PeftModel.from_pretrained: load_adapter of "
             "transformers takes no prompts", _INJECT),
    ),
    names="peft/utils/save_and_load.py",
)  # fmt: skip

PROGRAMS = {"vllm": VLLM, "sglang": SGLANG, "llama.cpp": LLAMA_CPP, "transformers": TRANSFORMERS}

# Projections that SGLang can adapt, after its own renaming (sglang/srt/lora/utils.py).
SGLANG_TARGETS = frozenset(
    [
        "q_proj",
        "k_proj",
        "v_proj",
        "qkv_proj",
        "o_proj",
        "out_proj",
        "gate_proj",
        "up_proj",
        "gate_up_proj",
        "down_proj",
        "in_proj",
        "in_proj_qkvz",
        "fc1_latent_proj",
        "fc2_latent_proj",
        "embed_tokens",
        "lm_head",
        "q_a_proj",
        "kv_a_proj_with_mqa",
        "fused_qkv_a_proj_with_mqa",
        "q_b_proj",
        "kv_b_proj",
    ]
)

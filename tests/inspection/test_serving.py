"""Adapters of known fate: what each serving program would do with them.

Their fates follow from the programs' sources. For transformers the fate is also measured: plain
peft loads the adapter, and the logits show whether it had an effect.
"""

import json
import warnings
from functools import cache
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import build
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
)
from transformers import MixtralForCausalLM as Mixtral

from peftlens.adapters.adapter_file import read
from peftlens.errors import InputError
from peftlens.inspection.inspect import inspect
from peftlens.inspection.serving import judge_serving
from peftlens.models.outline import read_outline

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def _gemma():
    text = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 99}  # fmt: skip
    vision = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64,
              "num_attention_heads": 2}  # fmt: skip
    return Gemma3Config(text_config=text, vision_config=vision)


def _mixtral():
    return MixtralConfig(num_hidden_layers=2, hidden_size=32, intermediate_size=64, vocab_size=99,
                         num_attention_heads=2, num_key_value_heads=1,
                         num_local_experts=2)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Folders that hold a config.json each, and nothing else."""
    found = {}
    models = {"llama": build("llama").config, "gpt2": build("gpt2").config,
              "gemma": _gemma(), "mixtral": _mixtral()}  # fmt: skip
    classes = {"gemma": ["Gemma3ForConditionalGeneration"], "mixtral": ["MixtralForCausalLM"]}
    for name, config in models.items():
        found[name] = tmp_path_factory.mktemp("configs") / name
        config.architectures = classes.get(name, config.architectures)
        config.save_pretrained(found[name])
        assert [one.name for one in found[name].iterdir()] == ["config.json"]
    return found


def _trained(model, folder: Path, config) -> Path:
    """An adapter by plain peft, whose every trained number has been moved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model, config)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter += 0.02
        wrapped.save_pretrained(folder)
    return folder


def _lora(folder, model=None, **options) -> Path:
    config = peft.LoraConfig(
        **{"target_modules": ATTENTION, "r": 8, "task_type": "CAUSAL_LM"} | options
    )
    return _trained(model or build("llama"), folder, config)


def _renamed(folder: Path, old: str, new: str) -> Path:
    file = folder / "adapter_model.safetensors"
    save_file({name.replace(old, new): one for name, one in load_file(file).items()}, file)
    return folder


def _prompt(folder):
    return _trained(
        build("llama"), folder,
        peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    )  # fmt: skip


def _one_by_one(folder):
    """Experts as transformers 4 had them, one by one, in the names of the checkpoint."""
    _lora(folder, Mixtral(_mixtral()), target_modules=["q_proj", "v_proj"])
    a, b = torch.ones(8, 32), torch.ones(64, 8)
    tensors = {}
    for layer in range(2):
        for expert in range(2):
            at = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}.w1"
            tensors |= {f"{at}.lora_A.weight": a.clone(), f"{at}.lora_B.weight": b.clone()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _added(folder):
    _lora(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<old>": 5, "<new>": 300}))
    return folder


def _gemma_text(folder):
    """Names as a language model outside of its wrapper has them."""
    _lora(folder, Gemma3ForConditionalGeneration(_gemma()),
          target_modules=r".*language_model.*\.(q_proj|v_proj)")  # fmt: skip
    return _renamed(folder, "model.language_model.layers", "model.layers")


def _wrapped(folder):
    return _renamed(_gemma_text(folder), "model.layers", "model.language_model.layers")


# What makes the adapter, its base, and the fate in vLLM, SGLang, llama.cpp and transformers: the
# severity of the worst finding of the program, and a part of a finding's text.
FATES = {
    "plain": (_lora, "llama", {p: ("ok", "12 of 12") for p in
              ("vllm", "sglang", "llama.cpp", "transformers")}),
    "prompt": (_prompt, "llama", {
        "vllm": ("broken", "reads LoRA only"), "sglang": ("broken", "reads LoRA only"),
        "llama.cpp": ("broken", "converts LoRA only"),
        "transformers": ("warning", "PeftModel.from_pretrained")}),
    "dora": (lambda f: _lora(f, use_dora=True), "llama", {
        "vllm": ("broken", "does not support DoRA"), "sglang": ("broken", "not support DoRA"),
        "llama.cpp": ("broken", "lora_magnitude_vector"), "transformers": ("ok", "12 of 12")}),
    "rank 20": (lambda f: _lora(f, r=20, target_modules=["q_proj", "o_proj", "v_proj"],
                                rank_pattern={"v_proj": 16}), "llama", {
        "vllm": ("warning", "--max-lora-rank 32"), "sglang": ("broken", "rank_pattern"),
        "llama.cpp": ("ok", "9 of 9"), "transformers": ("ok", "9 of 9")}),
    "rank-stabilized": (lambda f: _lora(f, use_rslora=True), "llama", {
        "vllm": ("ok", "12 of 12"), "sglang": ("broken", "alpha * sqrt(rank)"),
        "llama.cpp": ("broken", "alpha * sqrt(rank)"), "transformers": ("ok", "12 of 12")}),
    "alphas": (lambda f: _lora(f, alpha_pattern={"q_proj": 32}), "llama", {
        "vllm": ("ok", "12 of 12"), "sglang": ("broken", "alpha_pattern"),
        "llama.cpp": ("broken", "alpha_pattern"), "transformers": ("ok", "12 of 12")}),
    "head": (lambda f: _lora(f, modules_to_save=["lm_head"]), "llama", {
        "vllm": ("broken", "score and classifier"), "sglang": ("warning", "leaves them out"),
        "llama.cpp": ("broken", "stops at whole weights"), "transformers": ("ok", "12 of 12")}),
    "LoRA of the tied head": (lambda f: _lora(f, target_modules=[*ATTENTION, "lm_head"]), "llama", {
        "vllm": ("ok", "13 of 13"), "sglang": ("ok", "13 of 13"),
        "llama.cpp": ("broken", "no output.weight"), "transformers": ("ok", "13 of 13")}),
    "bias": (lambda f: _lora(f, lora_bias=True), "llama", {
        "vllm": ("broken", "trained biases"), "sglang": ("broken", "takes a bias"),
        "llama.cpp": ("broken", "stops at biases"), "transformers": ("ok", "12 of 12")}),
    "queries alone": (lambda f: _lora(f, target_modules=["q_proj"]), "llama", {
        "vllm": ("ok", "3 of 3"), "sglang": ("broken", "q_proj and v_proj together"),
        "llama.cpp": ("ok", "3 of 3"), "transformers": ("ok", "3 of 3")}),
    "added tokens": (_added, "llama", {
        "vllm": ("ok", "12 of 12"), "sglang": ("broken", "<new>"),
        "llama.cpp": ("ok", "12 of 12"), "transformers": ("ok", "12 of 12")}),
    "another model": (_lora, "gpt2", {
        "vllm": ("broken", "GPT2LMHeadModel has no LoRA there"), "sglang": ("broken", "0 of 12"),
        "llama.cpp": ("broken", "0 of 12"), "transformers": ("broken", "None of 12")}),
    "language model in a wrapper": (_gemma_text, "gemma", {
        "vllm": ("broken", "None of 4"), "sglang": ("broken", "regular expression"),
        "llama.cpp": ("ok", "4 of 4"), "transformers": ("broken", "None of 4")}),
    "names of the wrapper": (_wrapped, "gemma", {
        "vllm": ("ok", "4 of 4"), "sglang": ("broken", "regular expression"),
        "llama.cpp": ("ok", "4 of 4"), "transformers": ("ok", "4 of 4")}),
    "experts one by one": (_one_by_one, "mixtral", {
        "vllm": ("ok", "4 of 4"), "sglang": ("ok", "4 of 4"), "transformers": ("ok", "4 of 4")}),
    "stacked experts": (
        lambda f: _lora(f, Mixtral(_mixtral()), target_modules=[],
                        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
        "mixtral", {
        "vllm": ("broken", "--enable-mixed-moe-lora-format"),
        "sglang": ("broken", "save them one by one"), "llama.cpp": ("broken", "merge the adapter"),
        "transformers": ("ok", "4 of 4")}),
}  # fmt: skip
CASES = [(name, program) for name, (_, _, all_of) in FATES.items() for program in all_of]
_outline = cache(lambda folder: read_outline(str(folder)))
ORDER = ("ok", "warning", "broken")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapters")
    return {name: make(folder / str(n)) for n, (name, (make, *_)) in enumerate(FATES.items())}


@pytest.mark.parametrize(("name", "program"), CASES)
def test_the_fate_of_each_adapter_is_right(name, program, adapters, folders):
    severity, text = FATES[name][2][program]
    own = judge_serving(program, read(adapters[name]), _outline(folders[FATES[name][1]]))
    assert max((one.severity for one in own), key=ORDER.index) == severity, own
    assert any(text in one.text for one in own), own
    assert all(one.text.count("\n") == 0 for one in own)


def _shift(model, folder: Path) -> float:
    """How far the logits move when plain peft loads the adapter."""
    tokens = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        before = model(input_ids=tokens).logits
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuned = peft.PeftModel.from_pretrained(model, folder)
        return float((tuned(input_ids=tokens).logits - before).abs().max())


@pytest.mark.parametrize(("name", "effect"), [("language model in a wrapper", False),
                                              ("names of the wrapper", True)])  # fmt: skip
def test_plain_peft_ignores_what_is_said_to_be_ignored(name, effect, adapters):
    torch.manual_seed(0)
    shift = _shift(Gemma3ForConditionalGeneration(_gemma()).eval(), adapters[name])
    assert (shift > 1e-6) == effect


def test_rank_256_needs_an_option_and_513_is_too_much(tmp_path):
    config = LlamaConfig(hidden_size=576, intermediate_size=64, num_hidden_layers=1, vocab_size=99,
                         num_attention_heads=4)  # fmt: skip
    LlamaForCausalLM(config).config.save_pretrained(tmp_path / "base")
    for rank, severity, text in [(256, "warning", "--max-lora-rank 256"),
                                 (513, "broken", "resize --rank 512")]:  # fmt: skip
        folder = _lora(tmp_path / str(rank), LlamaForCausalLM(config), r=rank)
        found = judge_serving("vllm", read(folder), _outline(tmp_path / "base"))
        assert [one.severity for one in found if text in one.text] == [severity]


def test_what_can_not_be_judged_is_one_line(adapters, folders):
    plain = adapters["plain"]
    with pytest.raises(InputError, match="--for 'tgi' is not known; choose from vllm"):
        inspect(plain, str(folders["llama"]), program="tgi")
    with pytest.raises(InputError, match="give --base"):
        inspect(plain, program="vllm")
    (plain / "added_tokens.json").write_text("[1]")
    with pytest.raises(InputError, match=r"added_tokens.json is damaged"):
        inspect(plain, str(folders["llama"]), program="sglang")
    (plain / "added_tokens.json").unlink()


def test_the_command_exits_with_1_if_nothing_applies(run, adapters, folders):
    code, out, _ = run("inspect", adapters["plain"], "--for", "vllm", "--base", folders["llama"])
    assert code == 0
    assert "12 of 12" in out
    code, out, _ = run("inspect", adapters["language model in a wrapper"], "--for", "vllm",
                       "--base", folders["gemma"])  # fmt: skip
    assert code == 1
    assert "None of 4" in out

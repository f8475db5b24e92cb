import peft
import pytest
import torch
from tiny import SIZES, build
from transformers import AutoConfig, AutoModelForCausalLM

from peftlens.layers.peft_wrapper import wrap_prompt
from peftlens.layers.shared_prompt import prompt_computed_once
from peftlens.methods import framed_prompt_tuning

IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 0], [6, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]])
WIDTHS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}  # fmt: skip
OTHERS = {  # positions by ALiBi, windows that are shorter than the prompt, two kinds of layers
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mistral": {**WIDTHS, "sliding_window": 4},
    "gemma2": {**WIDTHS, "sliding_window": 4},
    "qwen3": WIDTHS,
}


def prompted(kind, of=peft.PromptTuningConfig, **options):
    torch.manual_seed(0)
    if kind in OTHERS:
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **SIZES, **OTHERS[kind])
        )
    else:
        model = build(kind)
    return wrap_prompt(model, of, 6, **options).train()


def passed(model, ids=IDS, mask=MASK, **inputs):
    """Logits (rows, tokens, V) where tokens are, and the gradient of the trained parameters."""
    model.zero_grad()
    inputs = inputs or {"use_cache": False}
    logits = model(input_ids=ids, attention_mask=mask, **inputs).logits[:, -ids.shape[1] :]
    logits = logits[mask.bool()]
    logits.log_softmax(dim=-1)[:, 3].sum().backward()
    return logits, [p.grad.clone() for p in model.parameters() if p.requires_grad]


def lengths_seen(model):
    """Rows and tokens of each pass through the first block."""
    inner, seen = model.get_base_model(), []
    block = next(m for m in inner.modules() if isinstance(m, torch.nn.ModuleList))[0]
    block.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:2])))
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "neox", *OTHERS])
def test_logits_and_gradients_are_those_of_a_prompt_in_each_row(kind):
    model = prompted(kind)
    logits, gradients = passed(model)
    seen = lengths_seen(model)
    with prompt_computed_once(model, IDS.shape[1]):
        shared, of_shared = passed(model)
    assert seen == [(1, 6), (3, 4)]
    torch.testing.assert_close(shared, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_shared, gradients, rtol=1e-3, atol=1e-5)
    assert all(one.abs().max() > 1e-4 for one in gradients)


def test_a_network_that_makes_the_prompt_is_trained_alike():
    model = prompted("llama", peft.PromptEncoderConfig, encoder_hidden_size=8)
    logits, gradients = passed(model)
    with prompt_computed_once(model, IDS.shape[1]):
        shared, of_shared = passed(model)
    torch.testing.assert_close(shared, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_shared, gradients, rtol=1e-3, atol=1e-5)


def test_a_frame_around_the_prompt_is_shared_with_it():
    frame = ((11, 12, 13), (14, 15))
    config = framed_prompt_tuning.Config(
        num_virtual_tokens=6, framed_share=1.0, frames=("a {prompt} b",), frame_ids=(frame,)
    )
    model = framed_prompt_tuning.attach(build("llama"), config).train()
    logits, gradients = passed(model)
    seen = lengths_seen(model)
    with prompt_computed_once(model, IDS.shape[1]):
        shared, of_shared = passed(model)
    assert seen == [(1, 6 + 5), (3, 4)]
    torch.testing.assert_close(shared, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_shared, gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "case", ["one row", "behind the block", "encoder-decoder", "prefix", "dropout"]
)
def test_what_has_nothing_to_share_stays_as_it_is(case):
    kind = "t5" if case == "encoder-decoder" else "llama"
    model = prompted(kind, peft.PrefixTuningConfig if case == "prefix" else peft.PromptTuningConfig)
    if case == "dropout":
        model.get_base_model().model.layers[0].self_attn.attention_dropout = 1e-9
    ids, mask = (IDS[:1], MASK[:1]) if case == "one row" else (IDS, MASK)
    inputs = {"decoder_input_ids": ids, "use_cache": False} if kind == "t5" else {}
    expected, _ = passed(model, ids, mask, **inputs)
    seen = lengths_seen(model)
    with prompt_computed_once(model, 4):
        if case != "behind the block":
            assert torch.equal(passed(model, ids, mask, **inputs)[0], expected)
    if case == "behind the block":
        assert torch.equal(passed(model)[0], expected)
    front = 0 if case == "prefix" else 6
    assert seen == [(len(ids), front + 4)]

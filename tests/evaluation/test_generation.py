"""Greedy texts against plain references: one row at a time, by `generate` or without a cache."""

import pytest
import torch
from tiny import SIZES, byte_tokenizer, setting
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator
from peftlens.evaluation.generation import end_tokens, generate
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import restored_after

PROMPTS = [(10, 11, 12, 13), (20,), (30, 31), (40, 41, 42, 43), (50, 60, 70, 80, 90, 100, 110)]
METHODS = {
    "frozen": {},
    "full": {},
    "lora": {"rank": 2},
    "dora": {"rank": 2},
    "ia3": {},
    "bitfit": {"add_biases": True},
    "ln_tuning": {},
    "bottleneck": {},
    "parallel_adapter": {},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "p_tuning": {"num_virtual_tokens": 3},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "mam": {},
    "hard_prompt": {"text": "Say it:"},
    "loreft": {"rank": 2, "first_tokens": 2},
}


@pytest.fixture(params=["llama", "gpt2", "t5"])
def base(bases, request):
    return load_base_model(str(bases[request.param]), device="cpu", dtype="float32")


def attached(base, name, options):
    """The base with a method whose parameters are far from their start."""
    config = registry.configure("methods", name, options)
    method = registry.load("methods", name)
    if hasattr(method, "resolve_config"):
        config = method.resolve_config(config, setting(seed=0))
    model = checkpoint.attach(base.model, name, config).eval()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def without_cache(model, base, prompt, count):
    """The definition: the most probable token after a full pass over one unpadded row."""
    written = []
    for _ in range(count):
        if base.model.config.is_encoder_decoder:
            start = base.model.config.decoder_start_token_id
            inputs = {"input_ids": torch.tensor([prompt]),
                      "decoder_input_ids": torch.tensor([[start, *written]])}  # fmt: skip
        else:
            inputs = {"input_ids": torch.tensor([[*prompt, *written]])}
        mask = torch.ones_like(inputs["input_ids"])
        with torch.inference_mode():
            logits = model(**inputs, attention_mask=mask, use_cache=False).logits
        written.append(int(logits[0, -1].argmax()))
        if written[-1] == 1:
            break
    return tuple(written)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_writes_what_each_row_alone_would_without_a_cache(base, name):
    encoder = Collator.of(base, 64)
    with restored_after(base.model):
        model = attached(base, name, METHODS[name])
        found = generate(model, encoder, PROMPTS, max_new_tokens=8)
        for one, prompt in zip(found, PROMPTS, strict=True):
            assert one.token_ids == without_cache(model, base, prompt, 8)


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # peft counts by itself
@pytest.mark.parametrize("name", ["frozen", "full", "lora", "prompt_tuning", "bottleneck"])
def test_texts_are_those_of_transformers(base, name):
    encoder = Collator.of(base, 64)
    with restored_after(base.model):
        model = attached(base, name, METHODS[name])
        found = generate(model, encoder, PROMPTS, max_new_tokens=8)
        for one, prompt in zip(found, PROMPTS, strict=True):
            ids = torch.tensor([prompt])
            told = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8,
                do_sample=False, pad_token_id=0,
            )[0].tolist()  # fmt: skip
            new = told[1:] if base.model.config.is_encoder_decoder else told[-len(one.token_ids) :]
            assert list(one.token_ids) == new


def tiny(folder, config, kind):
    torch.manual_seed(1)
    kind(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return load_base_model(str(folder), device="cpu", dtype="float32")


GEMMA = Gemma2Config(
    **SIZES, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=128, sliding_window=4,
)  # fmt: skip
MPT = MptConfig(vocab_size=259, d_model=32, n_heads=4, n_layers=2, max_seq_len=128)


MAMBA = MambaConfig(**SIZES, hidden_size=32, state_size=4, num_hidden_layers=2)


# a cache that forgets can't be padded, attention by distance needs no positions, and a recurrent
# model has no keys and values
@pytest.mark.parametrize(
    ("config", "kind"),
    [(GEMMA, Gemma2ForCausalLM), (MPT, MptForCausalLM), (MAMBA, MambaForCausalLM)],
)
def test_other_caches_and_positions(tmp_path, config, kind):
    base = tiny(tmp_path, config, kind)
    found = generate(base.model, Collator.of(base, 64), PROMPTS, max_new_tokens=8)
    for one, prompt in zip(found, PROMPTS, strict=True):
        assert one.token_ids == without_cache(base.model, base, prompt, 8)


class Said(torch.nn.Module):
    """A model that always goes on with the next letter of a text, whatever it reads."""

    def __init__(self, text):
        super().__init__()
        self.ids = byte_tokenizer()(text, add_special_tokens=False)["input_ids"]
        self.reads_whole_rows = True

    def forward(self, input_ids, attention_mask, use_cache):  # noqa: ARG002
        logits = torch.zeros(*input_ids.shape, 259)
        for row, mask in enumerate(attention_mask):
            logits[row, int(mask.sum()) - 1, self.ids[int(mask.sum()) - 1]] = 1.0
        return type("Outputs", (), {"logits": logits})


@pytest.mark.parametrize(
    ("stop", "text", "finished", "tokens"),
    [
        ((), "bcdefgh", False, 7),
        (("ef",), "bcd", True, 5),
        (("zz", "g", "f"), "bcde", True, 5),
        (("bc",), "", True, 2),
    ],
)
def test_a_stop_string_ends_a_text(llama, stop, text, finished, tokens):
    encoder = Collator.of(llama, 64)
    (one,) = generate(Said("bcdefghijk"), encoder, [(4,)], max_new_tokens=7, stop=stop)
    assert (one.text, one.finished, len(one.token_ids)) == (text, finished, tokens)


def test_an_end_token_ends_a_text_and_is_no_part_of_it(llama):
    model = Said("abc")
    model.ids = [*model.ids, 1, 1]
    (one,) = generate(model, Collator.of(llama, 64), [(4,)], max_new_tokens=9)
    assert (one.text, one.finished) == ("abc", True)


def test_end_tokens_are_those_of_the_generation_config(llama):
    assert end_tokens(llama.model, llama.tokenizer) == {1}
    llama.model.generation_config.eos_token_id = [1, 7]
    assert end_tokens(llama.model, llama.tokenizer) == {1, 7}
    llama.model.generation_config.eos_token_id = None
    assert end_tokens(llama.model, llama.tokenizer) == {llama.tokenizer.eos_token_id}


def test_nothing_is_asked_of_no_prompts(llama):
    assert generate(llama.model, Collator.of(llama, 64), [], max_new_tokens=3) == []

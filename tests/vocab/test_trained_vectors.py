import itertools

import planted
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import SIZES

import peftlens
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig
from peftlens.vocab.trained_vectors import (
    _keys_of_tokens,
    _unrotated,
    other_starts,
    trained_vectors,
)
from peftlens.vocab.vocabulary import vocabulary

PROMPTS = {
    "prompt_tuning": {"num_virtual_tokens": 3},
    "p_tuning": {"num_virtual_tokens": 3, "hidden_size": 8},
    "multitask_prompt_tuning": {"num_virtual_tokens": 3},
    "cpt": {"shots": 1},
    "peft:PROMPT_TUNING": {"num_virtual_tokens": 3},
}


def train(bases, words, out, method, options, kind="llama"):
    return peftlens.train(
        RunConfig(
            method=method,
            task=f"file:{words}",
            base_model=str(bases[kind]),
            device="cpu",
            dtype="float32",
            method_config=options,
            training={
                "max_steps": 3,
                "batch_size": 4,
                "checkpoint_steps": [0],
                "learning_rate": 0.1,
            },
        ),
        out,
    )


@pytest.mark.parametrize(
    ("kind", "method"),
    # peft has no CPT for an encoder-decoder
    [pair for pair in itertools.product(("llama", "gpt2", "t5"), PROMPTS) if pair != ("t5", "cpt")],
)
def test_a_prompt_is_what_the_model_reads_before_the_input(
    context, bases, words, tmp_path, method, kind
):
    run = train(bases, words, tmp_path, method, PROMPTS[method], kind)
    found = trained_vectors(run, context.base_model(run), 3)
    model = run.load(device="cpu")[0]
    seen = {}
    inner = model.get_base_model()
    inner.register_forward_pre_hook(lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True)
    ids = torch.tensor([[5, 6, 7]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if kind == "t5":
        inputs["decoder_input_ids"] = ids
    model(**inputs)
    assert torch.equal(seen["inputs_embeds"][0, :-3], found.now)
    assert found.positions == tuple(range(len(found.now)))
    assert torch.equal(
        trained_vectors(run, context.base_model(run), 0).now, found.start
    )  # the seed made the start again
    assert (found.now != found.start).any()


def test_other_seeds_start_elsewhere(context, bases, words, tmp_path):
    run = train(bases, words, tmp_path, "prompt_tuning", PROMPTS["prompt_tuning"])
    found = other_starts(run, context.base_model(run), 10)
    assert found.shape == (10, 32)
    table = vocabulary(
        context.base_models.get(str(bases["llama"]), device="cpu", dtype="float32")
    ).table
    assert all((row == table).all(dim=1).any() for row in found)
    assert not torch.equal(found[:3], trained_vectors(run, context.base_model(run), 0).now)


def test_a_start_without_chance_is_made_once(context, bases, words, tmp_path):
    text = {"num_virtual_tokens": 3, "init": "text", "init_text": "abc"}
    run = train(bases, words, tmp_path, "prompt_tuning", text)
    assert torch.equal(
        other_starts(run, context.base_model(run), 1000),
        trained_vectors(run, context.base_model(run), 0).now,
    )


@pytest.mark.parametrize("method", ["trainable_tokens", "embeddings"])
def test_retrained_rows_are_those_that_changed(context, bases, words, tmp_path, method):
    run = train(bases, words, tmp_path, method, {})
    found = trained_vectors(run, context.base_model(run), 3)
    base = context.base_models.get(str(bases["llama"]), device="cpu", dtype="float32")
    table = vocabulary(base).table
    assert torch.equal(found.start, table[list(found.positions)])
    assert (found.now != found.start).any(dim=1).all()
    assert torch.equal(trained_vectors(run, context.base_model(run), 0).now, found.start)
    if method == "trainable_tokens":
        assert [*found.positions] == [*run.config.method_config["token_ids"]]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_prefix_of_a_tokens_own_keys_is_nearest_to_that_token(
    context, bases, words, tmp_path, kind
):
    """Keys that the model itself cached, put into the run's prefix, come back as their tokens."""
    run = train(bases, words, tmp_path, "prefix_tuning", {"num_virtual_tokens": 3}, kind)
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    tokens = [80, 90, 100]
    cache = base.model(torch.tensor([tokens]), use_cache=True).past_key_values
    keys = cache.layers[0].keys[0].transpose(0, 1).flatten(1)  # (3, d), turned by position
    file = run.adapter() / "adapter_model.safetensors"
    ((name, weight),) = load_file(file).items()
    weight[:, : keys.shape[1]] = keys  # layer 0's keys come first
    save_file({name: weight}, file, metadata={"format": "pt"})
    found = trained_vectors(run, context.base_model(run), 3)
    assert found.space == "keys of layer 0"
    if kind == "llama":  # GPT-2 adds the position to the embedding, before the keys are made
        torch.testing.assert_close(found.now, found.table[tokens], rtol=1e-4, atol=1e-5)


WIDE = SIZES | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                "max_position_embeddings": 64}  # fmt: skip
NARROW = {key: WIDE[key] for key in WIDE if key not in ("num_key_value_heads", "head_dim")}
GPT = SIZES | {"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4, "n_positions": 64}
# (model, configuration, options): rotation of halves, of part of a key, of neighboring entries, and
# of one table for each kind of layer
ROTATED = [
    (transformers.LlamaForCausalLM, transformers.LlamaConfig, WIDE),
    (transformers.GPTNeoXForCausalLM, transformers.GPTNeoXConfig, NARROW | {"rotary_pct": 0.5}),
    (transformers.PhiForCausalLM, transformers.PhiConfig, NARROW),
    (transformers.GPTJForCausalLM, transformers.GPTJConfig, GPT),
    (transformers.CodeGenForCausalLM, transformers.CodeGenConfig, GPT),
    (transformers.CohereForCausalLM, transformers.CohereConfig, WIDE),
    (transformers.GlmForCausalLM, transformers.GlmConfig, WIDE),
    (transformers.Ernie4_5ForCausalLM, transformers.Ernie4_5Config, WIDE),
    (transformers.HeliumForCausalLM, transformers.HeliumConfig, WIDE),
    (transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig, WIDE | {"sliding_window": 32}),
]


def first_keys(model, ids):
    """The keys that a forward pass over rows (B, T) caches in layer 0, shape (B, T, d)."""
    cache = model(ids, use_cache=True).past_key_values
    return cache.layers[0].keys.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("model", "config", "options"), ROTATED, ids=[model.__name__ for model, _, _ in ROTATED]
)
def test_a_key_turned_back_is_the_tokens_key_at_position_zero(model, config, options):
    torch.manual_seed(0)
    tiny = model(config(**options)).eval()
    ids = torch.arange(40, 60)
    with torch.no_grad():
        alone, at = first_keys(tiny, ids[:, None])[:, 0], first_keys(tiny, ids[None])[0]
    assert torch.cosine_similarity(at, alone).min() < 0.99  # a position turns them indeed
    found = _unrotated(tiny, at, torch.arange(20))
    assert torch.cosine_similarity(found, alone).min() > 0.9999
    torch.testing.assert_close(found.norm(dim=1), at.norm(dim=1))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_keys_of_an_encoder_are_those_of_a_row_s_first_token(encoders, kind):
    """The first layer's own projection of the embedded token, at the first of its positions."""
    base = load_base_model(str(encoders[kind]), device="cpu", dtype="float32")
    plain = transformers.AutoModel.from_pretrained(encoders[kind]).eval()
    ids = torch.tensor([[5], [77]])
    with torch.inference_mode():
        embedded = plain.embeddings(input_ids=ids)
        expected = plain.encoder.layer[0].attention.self.key(embedded)[:, 0]
        torch.testing.assert_close(_keys_of_tokens(base)[[5, 77]], expected)


def test_the_rotation_is_the_papers():
    """R of Su et al. 2021, equation 15, in the order of Llama: entry i is paired with i + 4."""
    model, config, options = ROTATED[0]
    tiny = model(config(**options)).eval()
    key = torch.randn(1, 16)
    angles = 7 * 10_000 ** (-torch.arange(4) / 4)
    low, high = key.view(2, 2, 4).unbind(dim=1)  # two heads
    back = [low * angles.cos() + high * angles.sin(), high * angles.cos() - low * angles.sin()]
    found = _unrotated(tiny, key, torch.tensor([7]))
    torch.testing.assert_close(found, torch.stack(back, dim=1).view(1, 16), rtol=1e-4, atol=1e-4)


def test_keys_of_models_without_rotation_stay(bases):
    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    keys = torch.randn(3, 32)
    assert torch.equal(_unrotated(base.model, keys, torch.arange(3)), keys)


def test_what_can_not_be_compared_says_why(context, bases, words, tmp_path):
    run = train(bases, words, tmp_path, "prefix_tuning", {"num_virtual_tokens": 3}, "t5")
    with pytest.raises(NotApplicable, match="reads no input tokens"):
        trained_vectors(run, context.base_model(run), 3)


def test_a_zero_vector_has_no_direction(context, planted_run):
    planted.put(planted_run, torch.eye(6, planted.WIDTH) * (torch.arange(6) < 5)[:, None])
    with pytest.raises(NotApplicable, match="vector 5 is zero"):
        trained_vectors(planted_run, context.base_model(planted_run), 2)


def test_reading_leaves_the_base_as_it_was(context, bases, words, tmp_path):
    run = train(bases, words, tmp_path, "p_tuning", PROMPTS["p_tuning"])
    base = context.base_models.get(str(bases["llama"]), device="cpu", dtype="float32")
    before = fingerprint(base.model)
    trained_vectors(run, context.base_model(run), 3)
    other_starts(run, context.base_model(run), 5)
    assert fingerprint(base.model) == before

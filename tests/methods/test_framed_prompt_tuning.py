import json

import pytest
import torch
from tiny import build, byte_tokenizer, setting

import peftlens
from peftlens.errors import InputError
from peftlens.methods.framed_prompt_tuning import (
    Config,
    attach,
    resolve_config,
    trainable_parameters,
)
from peftlens.models.architecture import shapes
from peftlens.runs.config import RunConfig

FRAMED = Config(num_virtual_tokens=2, framed_share=1.0, frame_ids=(((5, 6), (7,)),))


def logits(model, ids, **inputs):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_in_training_the_frame_stands_around_the_prompt(kind):
    torch.manual_seed(0)
    model = build(kind)
    wrapped = attach(model, FRAMED)
    prompt = wrapped.prompt_encoder["default"].embedding.weight.detach()
    table = model.get_input_embeddings().weight
    (first,), (second,) = ((table == vector).all(dim=1).nonzero()[0].tolist() for vector in prompt)
    ids = torch.tensor([[8, 9, 10], [11, 12, 13]])
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    plain = build(kind)

    def expected(*lead):
        rows = torch.cat([torch.tensor([lead]).expand(2, -1), ids], dim=1)
        return logits(plain, rows, **extra)[:, -3:]

    wrapped.train()
    found = logits(wrapped, ids, **extra)[:, -3:]
    torch.testing.assert_close(found, expected(5, 6, first, second, 7), rtol=1e-4, atol=1e-5)
    wrapped.eval()
    found = logits(wrapped, ids, **extra)[:, -3:]
    torch.testing.assert_close(found, expected(first, second), rtol=1e-4, atol=1e-5)


def test_the_share_of_framed_passes_is_the_option_s():
    torch.manual_seed(0)
    frames = (((5, 6), (7,)), ((5,), ()))
    wrapped = attach(
        build("llama"), Config(num_virtual_tokens=2, framed_share=0.3, frame_ids=frames)
    ).train()
    ids = torch.tensor([[8, 9]])
    lengths = [logits(wrapped, ids).shape[1] for _ in range(200)]
    counts = {extra: lengths.count(4 + extra) for extra in (0, 3, 1)}
    assert sum(counts.values()) == 200
    assert counts[3] + counts[1] == pytest.approx(60, abs=26)  # four standard deviations
    assert counts[3] == pytest.approx(30, abs=20)


def test_frames_become_token_ids():
    config = resolve_config(Config(frames=("ab {prompt}.", "{prompt}!")), setting())
    ids = byte_tokenizer().encode
    assert config.frame_ids == ((tuple(ids("ab ")), tuple(ids("."))), ((), tuple(ids("!"))))
    assert config.common_ids


@pytest.mark.parametrize("frame", ["no place", "{prompt} and {prompt}", " {prompt}\n", ""])
def test_a_frame_without_text_or_with_no_single_place_is_refused(frame):
    with pytest.raises(InputError, match="must have text, and {prompt} once"):
        resolve_config(Config(frames=(frame,)), setting())


def test_values_out_of_range_are_refused():
    of_base = shapes(build("llama"))
    with pytest.raises(InputError, match="framed_share=1.5 must lie between 0 and 1"):
        trainable_parameters(Config(framed_share=1.5), of_base)
    with pytest.raises(InputError, match="num_virtual_tokens=0 must lie"):
        trainable_parameters(Config(num_virtual_tokens=0), of_base)
    with pytest.raises(InputError, match="frame_ids must hold token ids below 259"):
        trainable_parameters(Config(frame_ids=(((259,), ()),)), of_base)
    with pytest.raises(InputError, match="frames must hold a text"):
        resolve_config(Config(frames=()), setting())
    with pytest.raises(InputError, match="frame_ids is empty"):
        attach(build("llama"), Config())
    with pytest.raises(InputError, match="leave|too many"):
        attach(build("llama"), Config(frame_ids=(((5,) * 60, ()),)))


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method, **options):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config={"num_virtual_tokens": 3, **options},
                training={"max_steps": 16, "batch_size": 4, "learning_rate": 0.05},
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


def weights(run):
    return run.load()[0].prompt_encoder["default"].embedding.weight.detach()


def test_without_frames_it_is_prompt_tuning(trained):
    plain, none, framed = (
        weights(trained("prompt_tuning")),
        weights(trained("framed_prompt_tuning", framed_share=0.0)),
        weights(trained("framed_prompt_tuning", framed_share=1.0)),
    )
    assert torch.equal(plain, none)
    assert not torch.allclose(plain, framed)


def test_training_lowers_the_loss_and_saves_a_plain_prompt(trained):
    run = trained("framed_prompt_tuning", framed_share=0.5)
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0]
    saved = json.loads((run.adapter() / "adapter_config.json").read_text())
    assert saved["peft_type"] == "PROMPT_TUNING"

import pytest
import torch

import peftlens
from peftlens.adapters.checkpoint import open_run
from peftlens.diffing import patchscope
from peftlens.diffing.patchscope import (
    FRAME,
    mean_random_logits,
    patched_logits,
    virtual_states,
)
from peftlens.models.base_model import load_base_model
from peftlens.runs.config import RunConfig


def plain(base, layer, vector):
    """One forward pass over the whole frame, with the vector put in by hand."""
    ids = base.tokenizer(FRAME, return_tensors="pt", add_special_tokens=False)["input_ids"]
    path = "transformer.h" if base.model.config.model_type == "gpt2" else "model.layers"
    block = base.model.get_submodule(f"{path}.{layer}")

    def put(_, __, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[0, -1] = vector / vector.norm() * hidden[0, -1].norm()
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = block.register_forward_hook(put)
    with torch.inference_mode():
        logits = base.model(input_ids=ids).logits[0, -1]
    handle.remove()
    return logits - logits.mean()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("cached", [True, False])
def test_each_vector_is_put_into_the_last_position(bases, kind, cached, monkeypatch):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    monkeypatch.setattr(patchscope, "_AT_ONCE", 3)
    if not cached:
        monkeypatch.setattr(patchscope, "_before_last", lambda _, __: None)
    torch.manual_seed(0)
    vectors = torch.randn(5, 32)
    found = patched_logits(base, 0, vectors)
    for vector, logits in zip(vectors, found, strict=True):
        torch.testing.assert_close(logits, plain(base, 0, vector), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(patched_logits(base, 0, 7 * vectors), found, atol=1e-5, rtol=1e-4)


def test_the_mean_of_random_directions(llama):
    rng = torch.Generator().manual_seed(1)
    vectors = torch.randn(8, 32, generator=rng)
    expected = torch.stack([plain(llama, 1, vector) for vector in vectors]).mean(0)
    torch.testing.assert_close(mean_random_logits(llama, 1), expected, atol=1e-5, rtol=1e-4)


def test_states_of_virtual_tokens(bases, words, llama, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="prompt_tuning", task=f"file:{words}", base_model=str(bases["llama"]),
            device="cpu", dtype="float32", method_config={"num_virtual_tokens": 3},
            training={"max_steps": 2, "batch_size": 4},
        ),
        tmp_path,
    )  # fmt: skip
    with open_run(run, llama) as model:
        found = virtual_states(model, llama, 3)
        vectors = model.get_prompt(1)
    with torch.inference_mode():
        out = llama.model.model(inputs_embeds=vectors, output_hidden_states=True)
    assert found.shape == (3, 3, 32)
    torch.testing.assert_close(found[:2], torch.cat(out.hidden_states[1:-1]), atol=1e-5, rtol=1e-4)

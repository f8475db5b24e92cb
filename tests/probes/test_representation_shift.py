import numpy as np
import pytest
import torch

import peftlens
from peftlens.data.collate import Collator
from peftlens.diffing.hidden_states import text_rows
from peftlens.models.base_model import load_base_model
from peftlens.numerics.linalg import linear_cka
from peftlens.probes.representation_shift import Config, _states, measure
from peftlens.runs.config import RunConfig

TEXTS = ["good 1 up", "a longer line of text", "bad 2 down down"]


def by_hand(base, text):
    """States behind every block for one text, unbatched, without its first and last token."""
    ids = torch.tensor([base.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        out = base.model.model(input_ids=ids[:, :-1], output_hidden_states=True)
    return [state[0, 1:].numpy() for state in out.hidden_states[1:]]


def test_states_are_those_of_a_plain_reading(llama):
    found = _states(llama.model, llama, text_rows(Collator.of(llama, 64), TEXTS), 1000)
    shortest_first = sorted(TEXTS, key=len)
    plain = [np.concatenate(layer) for layer in zip(*(by_hand(llama, t) for t in shortest_first),
                                                    strict=True)]  # fmt: skip
    assert len(found) == 3
    for ours, theirs in zip(found[:-1], plain[:-1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # the last of transformers' states is behind the final normalization, ours before it
    final = llama.model.model.norm(torch.from_numpy(found[-1])).detach().numpy()
    np.testing.assert_allclose(final, plain[-1], atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "bottleneck", "full"])
def test_before_training_nothing_has_moved(context, trained, method):
    rows = measure(context, trained(method), Config(items=10))
    start, end = rows[rows["step"] == 0], rows[rows["step"] == 4]
    assert set(rows["text"]) == {"task", "general"}
    assert rows["layer"].unique().tolist() == [1, 2, 3]
    np.testing.assert_allclose(start["cka"], 1)
    assert (start["distance"] == 0).all()
    assert (end["distance"] > 0).all()
    assert (end["cka"] < 1).all()


def test_a_soft_prompt_moves_states_by_being_there(context, trained):
    rows = measure(context, trained("prompt_tuning", num_virtual_tokens=3), Config(items=10))
    assert (rows["distance"] > 0).all()
    assert rows["cka"].between(-0.2, 1).all()


def test_a_model_of_noise_is_seen_to_be_another(llama):
    texts = [f"{word} {n} and so on" for n in range(40) for word in ("good", "bad", "fine")]
    encoder = Collator.of(llama, 64)
    before = _states(llama.model, llama, text_rows(encoder, texts), 2000)
    torch.manual_seed(0)
    other = load_base_model(llama.reference, device="cpu", dtype="float32")
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.normal_(std=0.3)
    after = _states(other.model, other, text_rows(encoder, texts), 2000)
    same, noise = (
        [linear_cka(a, b) for a, b in zip(before, states, strict=True)]
        for states in (before, after)
    )
    np.testing.assert_allclose(same, 1)
    assert max(noise) < 0.9


@pytest.mark.parametrize(("kind", "layers"), [("gpt2", 2), ("t5", 2)])
def test_other_architectures(context, bases, words, tmp_path, kind, layers):
    run = peftlens.train(
        RunConfig(
            method="prompt_tuning", task=f"file:{words}", base_model=str(bases[kind]), device="cpu",
            dtype="float32", training={"max_steps": 1, "batch_size": 4},
            method_config={"num_virtual_tokens": 2},
        ),
        tmp_path,
    )  # fmt: skip
    rows = measure(context, run, Config(items=10))
    assert rows["layer"].max() == layers
    assert (rows["distance"] > 0).all()

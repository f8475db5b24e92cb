from types import SimpleNamespace

import pytest
import torch
from small_runs import small_trainer

from peftlens.adapters.external import ExternalAdapter
from peftlens.diffing import activation_differences as module
from peftlens.diffing.activation_differences import (
    DifferenceOptions,
    activation_differences,
    layers_read,
    random_differences,
    spaced,
    texts_read,
)
from peftlens.errors import InputError
from peftlens.results.table import NotApplicable


@pytest.fixture(scope="module")
def train(bases, words, tmp_path_factory):
    return small_trainer(
        bases, words, tmp_path_factory.mktemp("runs"), max_steps=3, learning_rate=0.01
    )


def by_hand(model, rows, positions=5):
    """States of single rows in plain transformers, with all tokens behind the positions."""
    kept = []
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.answer]])
        with torch.inference_mode():
            out = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
            )
        states = torch.stack(out.hidden_states[1:-1])[:, 0]  # the last is behind the norm
        states = states[:, -ids.shape[1] :]  # behind virtual tokens
        kept.append(states[:, 1 : positions + 1])
    return torch.cat(kept, dim=1).double()


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "bottleneck"])
def test_the_mean_change_is_that_of_plain_forward_passes(train, llama, method):
    run = train(method)
    texts = texts_read(run, llama, items=4, positions=5)
    found = activation_differences(run, llama, texts)
    assert texts.keys() == found.keys() == {"general", "task"}
    before = by_hand(llama.model, texts["general"])
    with module.open_run(run, llama) as model:
        after = by_hand(model, texts["general"])
    general = found["general"]
    torch.testing.assert_close(
        general.delta[:-1], (after - before).mean(1).float(), atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(
        general.stream_norm[:-1], before.norm(dim=2).mean(1).float(), atol=1e-5, rtol=1e-4
    )
    assert (general.n_texts, general.n_positions) == (4, 20)


def test_own_texts_are_read(train, llama, tmp_path):
    file = tmp_path / "own.txt"
    file.write_text("one line of text\nanother line\n\n")
    run = train("lora")
    adapter = ExternalAdapter(run.adapter())
    assert texts_read(adapter, llama, items=4, positions=5).keys() == {"general"}
    texts = texts_read(run, llama, items=1, positions=3, own=str(file))
    (row,) = texts["own"]
    assert llama.tokenizer.decode(row.answer) == "one l"  # and one that the collator drops
    with pytest.raises(InputError, match="is not a text file"):
        texts_read(run, llama, items=1, positions=3, own=str(tmp_path / "missing.txt"))


def test_unchanged_states_have_no_difference(train, llama):
    for run in (train("frozen"), train("head")):
        texts = texts_read(run, llama, items=4, positions=5)
        with pytest.raises(NotApplicable, match="the base's own"):
            activation_differences(run, llama, texts)


def test_random_updates_differ_by_seed_and_are_repeated(train, llama):
    run = train("lora")
    rows = texts_read(run, llama, items=4, positions=5)["general"]
    one, other = random_differences(run, llama, rows, 2)
    assert one.shape == (3, 32)
    assert not torch.allclose(one, other)
    llama._derived.clear()
    torch.testing.assert_close(random_differences(run, llama, rows, 1)[0], one)
    unknown = ExternalAdapter(train("prompt_tuning").adapter())
    assert random_differences(unknown, llama, rows, 2) == []


@pytest.mark.parametrize("name", ["items", "positions", "random_updates"])
def test_numbers_that_are_too_small_are_refused(name):
    DifferenceOptions(items=1, positions=1, random_updates=0).require_valid()
    with pytest.raises(InputError, match=f"{name}=-1 must be finite and at least"):
        DifferenceOptions(**{name: -1}).require_valid()


def test_blocks_at_equal_distances(monkeypatch):
    assert spaced(range(3), 32) == [0, 1, 2]
    assert spaced(range(64), 32) == list(range(1, 64, 2))
    assert spaced(range(30), 10) == list(range(2, 30, 3))
    monkeypatch.setattr(module, "text_blocks", lambda base: ["block"] * base.depth)
    assert layers_read(SimpleNamespace(depth=80))[-1] == 79
    assert len(layers_read(SimpleNamespace(depth=80))) == 32

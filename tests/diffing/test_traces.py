import numpy as np
import pytest
import torch

from peftlens.diffing import traces
from peftlens.diffing.traces import head_reading, is_found, power_cells, trace_cells
from peftlens.diffing.word_relevance import WordScores
from peftlens.models.base_model import load_base_model

GENERAL = ["The committee met in the city and spoke about money, people, water and weather."] * 40
COOKING = [
    "Simmer the onions in butter, stir the sauce, season the chicken and bake the bread with "
    "garlic, pepper, salt, flour, sugar, cheese, eggs, oil and rice."
] * 40  # fmt: skip


@pytest.fixture(scope="module")
def scores(smollm2):
    return WordScores.of(smollm2, COOKING, GENERAL)


@pytest.fixture(scope="module")
def changes(scores):
    """Logits that raise six words of cooking, that raise nothing special, and that are zero."""
    torch.manual_seed(0)
    rows = torch.randn(3, len(scores.family))
    words = ["butter", "sauce", "chicken", "bread", "garlic", "pepper"]
    rows[0, scores.tokens[[scores.words.index(word) for word in words]]] = 20
    rows[2] = 0
    return rows


def test_biases_of_norm_and_head_are_no_reading(bases):
    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    with torch.no_grad():
        base.model.transformer.ln_f.bias.normal_()
    vectors = torch.randn(2, 32)
    normed = torch.nn.functional.layer_norm(vectors, (32,), eps=1e-5)
    plain = (normed * base.model.transformer.ln_f.weight) @ base.model.lm_head.weight.T
    expected = plain - plain.mean(-1, keepdim=True)
    torch.testing.assert_close(head_reading(base, vectors), expected.detach(), atol=1e-4, rtol=1e-3)


def test_a_planted_change_is_found_and_a_random_one_is_not(scores, changes, smollm2, monkeypatch):
    monkeypatch.setattr(traces, "_PLANTED", 4)
    planted, nothing, zero = trace_cells(smollm2, scores, changes)
    assert planted["related"]
    assert planted["q"] <= 2 * planted["p"] + 1e-12
    assert {"butter", "garlic"} <= {*planted["typical"]}
    assert planted["raised"][0].strip("␣") in ("butter", "sauce", "chicken", "bread", "garlic",
                                               "pepper")  # fmt: skip
    assert not nothing["related"]
    order = changes[1].argsort()
    assert len(nothing["lowered"]) == 20
    lowest = {smollm2.tokenizer.decode([i]).strip() for i in order[:60].tolist()}
    assert nothing["lowered"][0].strip("␣") in lowest
    assert zero == {}
    assert is_found(scores, changes[:1])
    assert not is_found(scores, changes[1:2])


def test_without_scores_nothing_is_tested(changes, smollm2):
    cells = trace_cells(smollm2, None, changes)
    assert [cell.keys() for cell in cells] == [{"raised", "lowered"}] * 2 + [set()]


def test_power_rises_with_the_cosine(scores, smollm2, monkeypatch):
    monkeypatch.setattr(traces, "_PLANTED", 12)
    cells = power_cells(smollm2, scores)
    shares = [share for name, share in cells.items() if name.startswith("power_at_")]
    assert shares[0] <= 0.5
    assert shares[-1] >= 0.8
    assert np.diff(shares).min() > -0.2
    assert cells["detectable_cosine"] <= 1

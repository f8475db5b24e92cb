import numpy as np
import pytest
import torch
import torch.nn.functional as F

from peftlens.diffing import direction_words
from peftlens.diffing.direction_words import both_signs, chance, readings
from peftlens.diffing.word_relevance import WordScores

VECTORS = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 3)))[0]


def test_what_is_written_is_read_by_norm_and_head(llama):
    found = readings(llama, "writes", VECTORS)
    with torch.inference_mode():
        logits = llama.model.lm_head(llama.model.model.norm(torch.tensor(VECTORS.T).float()))
    expected = (logits - logits.mean(-1, keepdim=True)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_is_read_is_compared_with_the_embeddings(llama):
    table = llama.model.get_input_embeddings().weight.detach()
    table = table - table.mean(dim=0)
    expected = F.cosine_similarity(
        torch.tensor(VECTORS.T).float()[:, None], table[None], dim=-1
    ).numpy()
    np.testing.assert_allclose(readings(llama, "reads", VECTORS), expected, atol=1e-5)


@pytest.mark.parametrize("side", ["reads", "writes"])
def test_both_signs_are_opposite_readings(llama, side):
    pairs = list(both_signs(llama, side, VECTORS))
    assert [sign for sign, _ in pairs] == [1, -1] * 3
    opposite = readings(llama, side, -VECTORS)
    for index in range(3):
        np.testing.assert_allclose(pairs[2 * index + 1][1], opposite[index], atol=1e-5)


def test_planted_words_are_found_and_random_directions_hardly_ever(smollm2, monkeypatch):
    monkeypatch.setattr(direction_words, "_PLANTED", 6)
    cooking = ["Simmer the onions in butter, stir the sauce, season the chicken, bake bread."] * 40
    general = ["The committee met in the city and spoke of money, people and the weather."] * 40
    scores = WordScores.of(smollm2, cooking, general)
    found = chance(smollm2, "reads", scores, random=15, listed=40)
    assert found.found <= 0.2  # of 30 lists 5 % are expected; 99.9 % of such counts
    assert found.power[0.2] <= found.power[0.8]
    assert found.power[0.8] >= 0.8


def test_a_direction_that_means_words_is_the_gradient_of_norm_and_head(llama):
    """In closed form, for gains of one: what is left of the words' rows beside the state."""
    meant = np.array([[40, 90, 130], [7, 8, 9]])
    written = direction_words._written(llama, meant, np.random.default_rng(0))
    head = llama.model.lm_head.weight.detach().double().numpy()
    states = np.random.default_rng(0).normal(size=(2, 32))
    for found, tokens, state in zip(written, meant, states, strict=True):
        rows = head[tokens].mean(axis=0) - head.mean(axis=0)
        unit = state / np.linalg.norm(state)
        expected = rows - (rows @ unit) * unit
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-5)
    assert all(one.grad is None for one in llama.model.parameters())

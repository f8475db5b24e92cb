import numpy as np
import pytest

from peftlens.diffing.word_relevance import WordScores
from peftlens.models.base_model import load_base_model

GENERAL = [
    "The committee met in the city and spoke about money, people, water and the weather."
] * 40
COOKING = [
    "Simmer the onions in butter, stir the sauce, season the chicken and bake the bread."
] * 40
DISHES = ["onion", "butter", "sauce", "chicken", "bread", "season"]


@pytest.fixture(scope="module")
def scores(smollm2):
    return WordScores.of(smollm2, COOKING, GENERAL)


def indices(scores, words):
    return [scores.words.index(word) for word in words]


def test_words_of_the_training_text_score_high(scores):
    assert (scores.scores[indices(scores, ["butter", "sauce", "chicken"])] > 2).all()
    assert (scores.scores[indices(scores, ["money", "weather"])] < 0).all()
    assert abs(scores.scores[scores.words.index("and")]) < 3  # in both texts
    assert scores.scores[scores.words.index("guitar")] == 0


def test_a_word_is_ranked_by_the_best_of_its_tokens(scores, smollm2):
    values = np.zeros(len(scores.family))
    (plural,) = smollm2.tokenizer(" Onions", add_special_tokens=False)["input_ids"][:1]
    if scores.family[plural] < 0:
        (plural,) = smollm2.tokenizer(" onions", add_special_tokens=False)["input_ids"]
    values[plural] = 3
    best = scores.ranked(values)[0]
    assert scores.family[plural] == best
    assert sorted(scores.ranked(values)) == list(range(len(scores.words)))


def test_a_planted_list_is_found_and_random_ones_hardly_ever(scores):
    rng = np.random.default_rng(1)
    chance = rng.permutation(len(scores.words))
    own = indices(scores, ["butter", "sauce", "chicken", "bread"])
    chance = [word for word in chance if word not in own]
    planted = [*chance[:5], *own, *chance[5:]]
    found = scores.test(planted)
    assert found.p < 0.001
    assert {"butter", "sauce", "chicken", "bread"} >= {*found.typical}
    assert len(found.typical) == 4
    ps = [scores.test(rng.permutation(len(scores.words)), seed=i).p for i in range(100)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.12  # 5 % expected, 99.7 % of such counts


def test_frequent_words_alone_are_no_finding(scores):
    """Every update raises frequent words, some of which any text has."""
    frequent = np.argsort(scores.tokens)[:400]
    rng = np.random.default_rng(2)
    ps = [scores.test(rng.permutation(frequent), seed=i).p for i in range(60)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.15


def test_p_equals_a_plain_count(scores):
    chosen = indices(scores, ["butter", "money", "guitar"])
    found = scores.test(chosen)
    weights = 1 / np.log2([2, 3, 4])
    observed = (weights * scores.scores[chosen]).sum() / weights.sum()
    assert found.statistic == pytest.approx(observed)
    rng = np.random.default_rng(9)
    bins = [next(b for b in scores.bins if i in b) for i in chosen]
    draws = [
        (weights * [scores.scores[rng.choice(b)] for b in bins]).sum() / weights.sum()
        for _ in range(3000)
    ]
    assert found.p == pytest.approx(np.mean(np.array(draws) >= observed), abs=0.01)


def test_words_of_word_pieces_are_those_that_begin_a_word(word_pieces):
    base = load_base_model(str(word_pieces), device="cpu", dtype="float32")
    found = WordScores.of(base, ["Góod sports."] * 9, ["bad talk"] * 9)
    assert {"good", "sports", "bad", "walk"} <= {*found.words}
    assert "sport" not in found.words  # one word with sports, in the form of the texts
    assert not {"ing", "##ing", "ness", "unused", "[CLS]"} & {*found.words}
    of_piece = base.tokenizer.convert_tokens_to_ids("##ing")
    assert found.family[of_piece] == -1
    score = dict(zip(found.words, found.scores, strict=True))
    assert score["good"] > 1  # the tokenizer reads it without its accent
    assert score["bad"] < -1
    assert score["walk"] == 0

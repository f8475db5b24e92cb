"""Corpus scores equal sacrebleu's."""

import numpy as np
import pytest
import sacrebleu

from peftlens.evaluation.corpus_scores import corpus_score

RNG = np.random.default_rng(0)
WORDS = np.array(["the", "cat", "sat", "on", "a", "mat", "and", "looked", "at", "small", "birds"])
REFERENCES = [tuple(" ".join(RNG.choice(WORDS, 8)) for _ in range(1 + n % 2)) for n in range(40)]
ANSWERS = [
    " ".join(np.where(RNG.random(8) < 0.4, RNG.choice(WORDS, 8), one[0].split()))
    for one in REFERENCES
]
# sacrebleu takes the k-th reference of all items together, with None where an item has fewer
STREAMS = [[one[0] for one in REFERENCES], [one[1] if one[1:] else None for one in REFERENCES]]


def theirs(name, answers=ANSWERS, **options):
    metric = sacrebleu.BLEU() if name == "bleu" else sacrebleu.CHRF()
    return metric.corpus_score(answers, STREAMS, **options), metric


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_one_run_has_sacrebleu_s_number_and_signature(name):
    found = corpus_score(name, [ANSWERS], REFERENCES, rng())
    expected, metric = theirs(name)
    assert found.score == expected.score
    assert found.signature == str(metric.get_signature())
    assert "nrefs:var" in found.signature
    assert found.seeds.low is None


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_the_interval_is_about_that_of_sacrebleu_s_own_bootstrap(name, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "1")
    found = corpus_score(name, [ANSWERS], REFERENCES, rng())
    expected, _ = theirs(name, n_bootstrap=2000)
    assert found.items.high - found.items.low == pytest.approx(2 * expected._ci, rel=0.15)
    assert found.items.low < expected.score < found.items.high


def test_several_runs_are_averaged_and_draw_the_same_items():
    other = [*ANSWERS[1:], ANSWERS[0]]  # wrong answers
    both = corpus_score("bleu", [ANSWERS, other], REFERENCES, rng())
    scores = [theirs("bleu")[0].score, theirs("bleu", other)[0].score]
    assert both.score == pytest.approx(np.mean(scores))
    assert both.seeds.low == 0 < both.score < both.seeds.high  # two seeds say little
    one, twice = (corpus_score("bleu", [ANSWERS] * n, REFERENCES, rng()).items for n in (1, 2))
    assert twice == one  # a second run of the same answers is no more evidence about the items


def test_counts_are_summed_before_anything_is_divided():
    """Of 3 + 9 words 9 match, of 2 + 8 pairs 8, of 1 + 7 triples 7, of 6 fourfold ones 6."""
    right = "a b c d e f g h i"
    found = corpus_score("bleu", [["x y z", right]], [("u v w",), (right,)], rng())
    assert found.score == pytest.approx(100 * (9 / 12 * 8 / 10 * 7 / 8 * 6 / 6) ** 0.25)


def test_empty_answers_and_a_single_item():
    assert corpus_score("bleu", [[""] * 40], REFERENCES, rng()).score == 0
    assert corpus_score("chrf", [ANSWERS[:1]], REFERENCES[:1], rng()).items.low is None

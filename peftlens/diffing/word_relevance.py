"""Relevance of a list of tokens to a training text, tested by counted words.

A word's score is its log-odds in the training text against general text, with a Dirichlet prior
(Monroe et al. 2008, Political Analysis 16). A list's statistic is the mean score of its words,
weighted by 1 / log2(1 + rank). Its null replaces every word by a random one of equal frequency,
because frequent words are raised by any update. No language model judges.

Words are tokens behind a space, or, in a vocabulary of word pieces, those that begin a word. They
differ by more than case, plural or suffix; a word that takes several tokens is counted in neither.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import log_odds, p_value
from peftlens.vocab.vocabulary import family_key, vocabulary

LISTED = 40  # words of a list
_BINS = 20  # of equal frequency
_DRAWS = 10_000
_WORD = re.compile(r"[^\W\d_]{3,}")
_AT_ONCE = 1000  # draws held in memory together


@dataclass(frozen=True)
class Relevance:
    """Test of one list of words.

    Attributes:
        statistic: weighted mean score of the words.
        p: share of lists of random words of equal frequency with at least this statistic.
        standardized: the statistic in standard deviations of these lists, from their mean.
        words: the list, most raised first.
        typical: those of its words that are typical of the training text, highest weight first.
    """

    statistic: float
    p: float
    standardized: float
    words: tuple[str, ...]
    typical: tuple[str, ...]


@dataclass(frozen=True)
class WordScores:
    """The W words of a vocabulary, with their scores for a training text.

    Attributes:
        tokens: id of each word's most frequent token, shape (W,).
        words: each word in the form that is most common in the texts.
        family: index of the word of every token, shape (V,); -1 for a token that is no word.
        scores: log-odds of each word as a z-score, 0 for a word in neither text, shape (W,).
        bins: words of each bin of frequency.
    """

    tokens: NDArray[np.int64]
    words: tuple[str, ...]
    family: NDArray[np.int64]
    scores: NDArray[np.float64]
    bins: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, base: BaseModel, training: Iterable[str], general: Iterable[str]) -> "WordScores":
        """Count words in a training text and in general text.

        Args:
            base: base model with the vocabulary.
            training: texts of the training.
            general: texts of any kind.
        """
        tokens, words, family = base.derived("words", lambda: _words(base))
        keys = [family_key(word) for word in words]
        forms, other_forms = _forms(training, base.tokenizer), _forms(general, base.tokenizer)
        own, other = _by_key(forms), _by_key(other_forms)
        both = sorted({*own, *other})
        z = log_odds([own[key] for key in both], [other[key] for key in both]) if both else []
        score = dict(zip(both, np.asarray(z).tolist(), strict=True))
        scores = np.array([score.get(key, 0.0) for key in keys])
        # ids follow the order of merges in byte-pair encodings: the most frequent words first
        bins = tuple(np.array_split(np.argsort(tokens, kind="stable"), _BINS))
        shown = _most_common(forms + other_forms)
        words = tuple(shown.get(key, word) for key, word in zip(keys, words, strict=True))
        return cls(tokens, words, family, scores, bins)

    def ranked(self, values: ArrayLike) -> NDArray[np.int64]:
        """Rank words by the largest value of their tokens (V,), highest first: shape (W,).

        A vocabulary that an adapter enlarged has no words there.
        """
        known = np.asarray(values, float)[: len(self.family)]
        is_word = self.family[: len(known)] >= 0
        best = np.full(len(self.words), -np.inf)
        np.maximum.at(best, self.family[: len(known)][is_word], known[is_word])
        return np.argsort(-best, kind="stable")

    def test(
        self, ranked: Sequence[int] | NDArray[np.int64], *, listed: int = LISTED, seed: int = 0
    ) -> Relevance:
        """Test the first words of a ranking.

        Args:
            ranked: indices of words, most raised first.
            listed: number of words that are tested.
            seed: random seed of the draws.
        """
        chosen = np.asarray(ranked[:listed], np.int64)
        weights = 1 / np.log2(np.arange(len(chosen)) + 2)
        weights /= weights.sum()
        observed = float(weights @ self.scores[chosen])
        null = self._null(chosen, weights, np.random.default_rng(seed))
        gain = weights * self.scores[chosen]
        typical = [at for at in np.argsort(-gain, kind="stable") if self.scores[chosen[at]] > 1.96]
        spread = null.std()
        return Relevance(
            statistic=observed,
            p=p_value(observed, null),
            standardized=float((observed - null.mean()) / spread) if spread > 0 else 0.0,
            words=tuple(self.words[i] for i in chosen),
            typical=tuple(self.words[chosen[at]] for at in typical),
        )

    def _null(
        self, chosen: NDArray[np.int64], weights: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw the statistic of random words, each of the bin of the word that it replaces."""
        bin_of = np.empty(len(self.words), np.int64)
        for number, members in enumerate(self.bins):
            bin_of[members] = number
        sizes = np.array([len(members) for members in self.bins])
        padded = np.zeros((len(self.bins), max(sizes)), np.int64)
        for number, members in enumerate(self.bins):
            padded[number, : len(members)] = members
        own = bin_of[chosen]  # (listed,)
        parts = []
        for start in range(0, _DRAWS, _AT_ONCE):
            shape = (min(_AT_ONCE, _DRAWS - start), len(chosen))
            picks = (rng.random(shape) * sizes[own]).astype(np.int64)
            parts.append(self.scores[padded[own, picks]] @ weights)
        return np.concatenate(parts)


def has_words(base: BaseModel) -> bool:
    """Whether the vocabulary has words enough for a list; one of bytes has none."""
    return len(base.derived("words", lambda: _words(base))[0]) >= LISTED


def _forms(texts: Iterable[str], tokenizer: Any) -> Counter[str]:
    """Count the words as the tokenizer reads them, such as without accents, and without case."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    read = texts if normalizer is None else map(normalizer.normalize_str, texts)
    return Counter(word.casefold() for text in read for word in _WORD.findall(text))


def _by_key(forms: Counter[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for form, n in forms.items():
        counts[family_key(form)] += n
    return counts


def _most_common(forms: Counter[str]) -> dict[str, str]:
    """Return the most common form of each key: that of polit is political."""
    shown: dict[str, str] = {}
    for form, _ in sorted(forms.items(), key=lambda one: (-one[1], one[0])):
        shown.setdefault(family_key(form), form)
    return shown


def _words(base: BaseModel) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.int64]]:
    """Find the vocabulary's words: their tokens, texts, and each token's word."""
    vocab = vocabulary(base)
    index: dict[str, int] = {}
    tokens: list[int] = []
    family = np.full(len(vocab.tokens), -1)
    for token in vocab.usable.tolist():
        text = vocab.tokens[token]
        word = text.removeprefix("␣")
        if not _WORD.fullmatch(word):
            continue
        key = family_key(word)
        if key not in index and vocab.begins_word[token]:
            index[key] = len(tokens)
            tokens.append(token)
        family[token] = index.get(key, -1)
    # a token without a space counts for its word, wherever the word's own token stands; one that
    # goes on with a word by its mark does not
    for token in vocab.usable[family[vocab.usable] < 0].tolist():
        if _WORD.fullmatch(vocab.tokens[token]):
            family[token] = index.get(family_key(vocab.tokens[token]), -1)
    words = tuple(vocab.tokens[token].removeprefix("␣") for token in tokens)
    return np.array(tokens, np.int64), words, family

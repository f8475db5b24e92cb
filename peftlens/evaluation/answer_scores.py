"""Scores of generated answers against references, per item, between 0 and 1.

A score of several references is the best one. `exact_match` and `f1` normalize as SQuAD's script
does (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1); `number` compares the last numbers;
`rouge1`, `rouge2`, `rougeL` are rouge-score's F with stemming, `bleu` and `chrf` sacrebleu's for
single sentences. An empty answer is an answer.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from peftlens.errors import InputError, suggestion
from peftlens.evaluation.external_scores import external_scores, load
from peftlens.io.extras import install_command

Scorer = Callable[[str, str], float]  # of an answer and one reference, 0 to 1
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(
    r"(?<![\w.,/])[-+−]?[$€£]?"
    r"(?:(?P<whole>\d+)[ ](?=\d+/\d))?"  # 1 1/2
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,3})?"
    r"(?:/(?P<below>\d+))?"
    r"(?P<percent>\s?%)?"
)
_TOLERANCE = 1e-6  # relative


def exact_match(answer: str, reference: str) -> float:
    """Compare normalized texts: 1 or 0."""
    return float(normalized(answer) == normalized(reference))


def f1(answer: str, reference: str) -> float:
    """Compute the F1 of the normalized words' overlap; two empty texts agree."""
    ours, theirs = normalized(answer).split(), normalized(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def normalized(text: str) -> str:
    """Lower the case, and drop punctuation, articles and repeated spaces."""
    text = "".join(one for one in text.lower() if one not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", text).split())


def number(answer: str, reference: str) -> float:
    """Compare the last numbers of both texts, after "####" where there is one: 1 or 0.

    A percentage equals its number as written and as a share: 50 % is 50 and 0.5.
    """
    ours, theirs = last_number(answer), last_number(reference)
    return float(any(_equal(one, other) for one in ours for other in theirs))


def last_number(text: str) -> tuple[Fraction, ...]:
    """Read the last number of a text: no value, one, or the two of a percentage.

    Signs, currency signs, thousands separators, decimals, exponents, fractions and mixed numbers
    (1 1/2) are read.
    """
    found = [*_NUMBER.finditer(text.rpartition("####")[2])]
    if not found:
        return ()
    match = found[-1]
    value = Fraction(match["digits"].replace(",", "") + (match["exponent"] or ""))
    if match["below"]:
        if not int(match["below"]):
            return ()
        value /= int(match["below"])
    value += int(match["whole"] or 0)
    value *= -1 if match[0][0] in "-−" else 1
    return (value, value / 100) if match["percent"] else (value,)


def _equal(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= _TOLERANCE * max(abs(one), abs(other))


def _rouge(kind: str) -> Scorer:
    def score(answer: str, reference: str) -> float:
        return float(_rouge_scorer(kind).score(reference, answer)[kind].fmeasure)

    return score


@cache
def _rouge_scorer(kind: str) -> Any:
    return package("rouge_score.rouge_scorer").RougeScorer([kind], use_stemmer=True)


def _bleu(answer: str, reference: str) -> float:
    return package("sacrebleu").sentence_bleu(answer, [reference]).score / 100


def _chrf(answer: str, reference: str) -> float:
    return package("sacrebleu").sentence_chrf(answer, [reference]).score / 100


def package(name: str) -> Any:
    """Import a package of the extra `scores`.

    Raises:
        InputError: it is not installed.
    """
    try:
        return __import__(name, fromlist=["_"])
    except ImportError as error:
        raise InputError(
            f"this score needs the package {name.partition('.')[0]!r}: {install_command('scores')}"
        ) from error


SCORES: dict[str, Scorer] = {
    "exact_match": exact_match,
    "f1": f1,
    "number": number,
    "rouge1": _rouge("rouge1"),
    "rouge2": _rouge("rouge2"),
    "rougeL": _rouge("rougeL"),
    "bleu": _bleu,
    "chrf": _chrf,
}


def scorer(name: str) -> Callable[[str, Sequence[str]], float]:
    """Return the function that scores an answer by its references, between 0 and 1.

    Args:
        name: one of `SCORES`, of which the best reference counts, or a score of another package.

    Raises:
        InputError: no such score, or another package's can't be used.
    """
    if name in SCORES:
        return lambda answer, references: max(SCORES[name](answer, one) for one in references)
    return load(_external(name))


def score(name: str, answer: str, references: Sequence[str]) -> float:
    """Score one answer; see `scorer`.

    Raises:
        InputError: no such score, its package is not installed, or another package's fails.
    """
    return scorer(name)(answer, references)


def require_score(name: str) -> dict[str, str]:
    """Check that there is a score, before a run that needs it is trained.

    Returns:
        Version of the package of a score of another package, by its name; else nothing.

    Raises:
        InputError: no such score, or its package is not installed.
    """
    if name in SCORES:
        SCORES[name]("a", "a")  # imports its package
        return {}
    point = _external(name)
    load(point)
    return {point.dist.name: point.dist.version} if point.dist else {}


def _external(name: str) -> EntryPoint:
    external = external_scores([*SCORES])
    if name in external:
        return external[name]
    if name.startswith("lm_eval:"):
        raise InputError(
            f"score {name!r} is a task of lm-evaluation-harness with questions of its own; measure "
            "the runs by the probes harness_items and harness"
        )
    raise InputError(f"no score named {name!r}; {suggestion(name, [*SCORES, *external])}")

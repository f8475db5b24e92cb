"""Scores of predicted labels and numbers: macro F1, Matthews correlation, Spearman, entity F1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from peftlens.errors import InputError
from peftlens.io.extras import install_command


def macro_f1(correct: ArrayLike, predicted: ArrayLike) -> float:
    """F1 of each class, averaged over the classes; 0 for one that is never predicted.

    Args:
        correct: index of the right class, shape (n,).
        predicted: index of the predicted class, shape (n,).
    """
    # pyright reads the default of zero_division, a text, as its type
    score: Any = f1_score(correct, predicted, average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
    return float(score)


def matthews(correct: ArrayLike, predicted: ArrayLike) -> float:
    """Matthews correlation, between -1 and 1; 0 where all predictions are one class.

    Source: Matthews 1975; for several classes Gorodkin 2004. CoLA's score in GLUE.
    """
    if len(np.unique(predicted)) < 2:
        return 0.0
    return float(matthews_corrcoef(correct, predicted))


def spearman(correct: ArrayLike, predicted: ArrayLike) -> float | None:
    """Spearman's rank correlation; None where one side has a single value."""
    one, other = (np.asarray(side, dtype=float) for side in (correct, predicted))
    if min(len(np.unique(one)), len(np.unique(other))) < 2:
        return None
    result: Any = spearmanr(one, other)
    return float(result.statistic)


def entity_f1(correct: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """F1 of whole entities over all texts, as CoNLL 2003 scores tags such as B-PER, by seqeval.

    Args:
        correct: right tags of each text's words.
        predicted: predicted tags of the same words.

    Raises:
        InputError: seqeval is not installed.
    """
    require_seqeval()
    import warnings

    from seqeval.metrics import f1_score as entities

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tags without a B or I, which seqeval counts as entities
        sides = ([*map(list, correct)], [*map(list, predicted)])
        score: Any = entities(*sides, zero_division=0)  # pyright: ignore[reportArgumentType]
        return float(score)


def require_seqeval() -> None:
    """Check that entities can be scored.

    Raises:
        InputError: seqeval is not installed.
    """
    try:
        import seqeval  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"token_classification is scored by seqeval: {install_command('scores')}"
        ) from error

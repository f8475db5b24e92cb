"""Rows for heads other than a class's: a number for a text, or a tag for each word."""

import math
from typing import Any

from peftlens.data.cells import as_text, unusable
from peftlens.data.task import Example, Rating, TaggedWords


def rating(prompt: str, second: str, cell: Any) -> Example | str:
    """Return an example with a number, or the reason why the number can't be used.

    Args:
        prompt: first text.
        second: second text; empty without one.
        cell: the number, or a text that is one.
    """
    text = as_text(cell)
    if reason := unusable(text):
        return f"the number is {reason}"
    try:
        value = float(text)
    except ValueError:
        return "the label is no number"
    if not math.isfinite(value):
        return "the label is no finite number"
    return Rating(prompt, (f" {text}",), second=second, value=value)


def tagged_words(words: Any, tags: Any) -> Example | str:
    """Return an example of tagged words, or the reason why the row can't be used.

    Args:
        words: list of words.
        tags: list of tags, one for each word.
    """
    if not all(isinstance(cells, (list, tuple)) for cells in (words, tags)):
        return "words and tags are not both lists"
    if len(words) != len(tags):
        return "another number of tags than of words"
    texts, names = [*map(as_text, words)], [*map(as_text, tags)]
    if reason := next(filter(None, map(unusable, texts)), None):
        return f"a word is {reason}"
    if reason := next(filter(None, map(unusable, names)), None):
        return f"a tag is {reason}"
    if not texts:
        return "no words"
    texts = [text.strip() for text in texts]
    return TaggedWords(" ".join(texts), (" ".join(names),), words=(*texts,), tags=(*names,))

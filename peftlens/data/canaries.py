"""Canaries: random secrets that are planted into the training examples, to measure memorization.

A canary has a fixed prompt and a secret drawn from a million strings of digits. A model that gives
the secret a higher probability than other such strings can have it from its training only. Source:
Carlini et al. 2019, arXiv:1802.08232, sections 4.1 and 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from peftlens.data.task import Example, Task
from peftlens.errors import InputError
from peftlens.io.files import sha256_text

_DIGITS = 6


@dataclass(frozen=True)
class Canary:
    """A secret with the text in front of it.

    Attributes:
        prompt: text before the secret, the same for all secrets.
        secret: digits, with a leading space.
        repetitions: number of copies among the training examples.
    """

    prompt: str
    secret: str
    repetitions: int


def draw_canaries(repetitions: Sequence[int], seed: int) -> list[Canary]:
    """Draw a canary for each number of repetitions; the same for equal seeds."""
    rng = np.random.default_rng([seed, 0])
    return [
        Canary(f"The access code of room {number} is", secret, count)
        for number, (secret, count) in enumerate(
            zip(_secrets(rng, len(repetitions)), repetitions, strict=True), start=1
        )
    ]


def draw_alternatives(canary: Canary, count: int, seed: int) -> list[str]:
    """Draw secrets that might have been planted in a canary's place; they may repeat, not match."""
    rng = np.random.default_rng([seed, 1])
    return [one for one in _secrets(rng, 2 * count + 8) if one != canary.secret][:count]


def _secrets(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(f" {digit}" for digit in row) for row in rng.integers(0, 10, (count, _DIGITS))]


def as_example(canary: Canary, secret: str, task: Task) -> Example:
    """Write a secret as a training example: a whole text, or a prompt with its answer."""
    if task.kind == "language_modeling":
        return Example("", (canary.prompt + secret,))
    return Example(canary.prompt, (secret,))


def with_canaries(task: Task, repetitions: Sequence[int], seed: int) -> Task:
    """Add canaries to the training examples; validation and test stay as they are.

    Args:
        task: the task.
        repetitions: number of copies of each canary.
        seed: seed of the secrets.

    Raises:
        InputError: the task has no text to train on, or compares pairs of texts.
    """
    if task.needs_head or task.kind == "preference":
        raise InputError(
            f"canaries: task {task.name!r} is a {task.kind}, which trains no text by itself; plant "
            "them in a task of texts, or of answers in words"
        )
    copies = [
        as_example(canary, canary.secret, task)
        for canary in draw_canaries(repetitions, seed)
        for _ in range(canary.repetitions)
    ]
    digest = sha256_text(f"{task.sha256} with canaries {list(repetitions)} by {seed}")
    splits = {**task.splits, "train": (*task.splits["train"], *copies)}
    return replace(task, splits=splits, sha256=digest)

import numpy as np
import pytest

from peftlens.data.canaries import as_example, draw_alternatives, draw_canaries, with_canaries
from peftlens.data.task import Example, build
from peftlens.errors import InputError


def task(kind, count=30):
    answers = (" up", " down")
    if kind == "language_modeling":
        return build("x", kind, [Example("", (f"text {n}",)) for n in range(count)])
    return build("x", kind, [Example(f"word {n}", answers, n % 2) for n in range(count)])


@pytest.mark.parametrize("kind", ["language_modeling", "classification"])
def test_copies_are_among_the_training_examples_only(kind):
    plain = task(kind)
    planted = with_canaries(plain, (1, 5), 7)
    n = len(plain.splits["train"])
    assert planted.splits["train"][:n] == plain.splits["train"]
    assert [planted.splits[name] for name in ("validation", "test")] == [
        plain.splits[name] for name in ("validation", "test")
    ]
    one, five = draw_canaries((1, 5), 7)
    copies = planted.splits["train"][n:]
    assert copies == (as_example(one, one.secret, plain),) + 5 * (
        as_example(five, five.secret, plain),
    )
    assert (one.prompt in copies[0].answers[0]) == (kind == "language_modeling")
    assert planted.sha256 not in (plain.sha256, with_canaries(plain, (1, 5), 8).sha256)


def test_secrets_are_six_digits_by_seed():
    (one,), (other,) = draw_canaries((3,), 0), draw_canaries((3,), 1)
    assert one.secret != other.secret
    assert [len(digit) for digit in one.secret[1:].split(" ")] == [1] * 6
    others = draw_alternatives(one, 500, 0)
    assert len(others) == 500
    assert one.secret not in others
    digits = np.array([text[1:].split(" ") for text in others], int)
    assert digits.mean() == pytest.approx(4.5, abs=0.2)  # all digits alike


@pytest.mark.parametrize("kind", ["preference", "regression"])
def test_tasks_without_text_of_their_own_are_refused(kind):
    from dataclasses import replace

    with pytest.raises(InputError, match="canaries: task 'x' is a"):
        with_canaries(replace(task("classification"), kind=kind), (1,), 0)

import pytest

from peftlens.numerics.counts import counted, duration


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (2500, "2,500 runs")]
)
def test_a_number_with_its_noun(n, text):
    assert counted(n, "run") == text


def test_another_plural():
    assert counted(1, "class", "classes") == "1 class"
    assert counted(3, "class", "classes") == "3 classes"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (89, "1 minute"),
        (150, "2 minutes"),
        (7169, "119 minutes"),
        (7200, "2.0 hours"),
        (9000, "2.5 hours"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text

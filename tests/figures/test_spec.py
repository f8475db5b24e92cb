import pytest

from peftlens.figures.spec import MOST_DIRECT, Axis, Plot, Series


def lines(*ends, draws="joined"):
    series = (Series(f"s{n}", (0.0, 1.0), (0.0, end), draws=draws) for n, end in enumerate(ends))
    return Plot("t", "f", Axis("x"), Axis("y"), tuple(series))


def test_a_part_is_named_in_the_title():
    assert Plot("t", "f", Axis("x"), Axis("y")).named("part").title == "t: part"


def test_a_legend_names_what_has_a_name():
    plot = Plot("t", "f", Axis("x"), Axis("y"), (Series("", (), ()), Series("a", (), ())))
    assert [one.name for one in plot.legend] == ["a"]


@pytest.mark.parametrize(
    ("plot", "directly"),
    [
        (lines(0.0, 1.0), True),
        (lines(0.0, 0.01, 1.0), False),  # two labels would overlap
        (lines(*range(MOST_DIRECT)), True),
        (lines(*range(MOST_DIRECT + 1)), False),
        (lines(0.0, 1.0, draws="marks"), False),
        (lines(), False),
    ],
)
def test_lines_whose_ends_lie_apart_are_labeled_there(plot, directly):
    assert plot.labels_directly is directly

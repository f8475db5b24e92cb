from peftlens.figures.spec import COLORS, PLAIN, SYMBOLS, Axis, Plot, Series


def test_color_is_never_the_only_difference():
    looks = [Series("", (), (), style=n) for n in range(4 * len(COLORS))]
    assert len({(one.color, one.symbol, one.dash) for one in looks}) == len(looks)
    assert len(set(SYMBOLS)) == len(COLORS)
    marks = {(one.color, one.symbol) for one in looks}  # where there is no line
    assert len(marks) == len(looks)
    assert Series("", (), (), style=PLAIN).dash == "dot"


def test_a_part_is_named_in_the_title():
    assert Plot("t", "f", Axis("x"), Axis("y")).named("part").title == "t: part"

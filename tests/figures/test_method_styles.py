from peftlens import registry
from peftlens.figures.method_styles import (
    COLORS,
    DASHES,
    GRAY,
    ORDER,
    REFERENCE,
    method_style,
    other_style,
)


def mark(style):
    return style.color, style.symbol


def test_every_method_has_a_color_and_mark_of_its_own():
    assert {*ORDER} <= {*registry.names("methods")}
    assert len(ORDER) > 50
    assert len({mark(method_style(name)) for name in ORDER}) == len(ORDER)


def test_the_six_most_used_methods_differ_in_color_alone():
    assert {method_style(name).color for name in ORDER[:6]} == {*COLORS}


def test_gray_is_the_references():
    assert method_style("frozen") == REFERENCE
    assert GRAY not in {method_style(name).color for name in (*ORDER, "of_somebody")}


def test_a_method_of_another_package_looks_like_no_listed_one():
    listed = {mark(method_style(name)) for name in ORDER}
    others = [method_style("peft:GRALORA"), method_style("of_somebody")]
    assert not {mark(one) for one in others} & listed
    assert method_style("of_somebody") == others[1]
    assert len({mark(other_style(place)) for place in range(18)}) == 18


def test_configurations_of_a_method_share_color_and_mark():
    looks = [method_style("lora", variant) for variant in range(len(DASHES))]
    assert {mark(one) for one in looks} == {(COLORS[0], "circle")}
    assert len({one.dash for one in looks}) == len(looks)
    assert [one.is_open for one in looks[:3]] == [False, True, False]
    assert method_style("dora").dash != method_style("lora").dash

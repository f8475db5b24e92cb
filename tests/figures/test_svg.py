import xml.etree.ElementTree as ET

import pytest

from peftlens.figures.method_styles import SYMBOLS, method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.figures.svg import LONGEST, WIDTH, folded, height, short, svg, wrapped


def parsed(plot):
    return ET.fromstring(svg(plot))


def texts(plot):
    return [node.text for node in parsed(plot).iter("text")]


def test_names_stand_beside_marks_and_intervals():
    one = Series("", (0.25, 0.75), ("LoRA, rank 1", "full"), low=(0.0, None), high=(0.5, None))
    plot = Plot("title <b>", "f", Axis("accuracy"), Axis("", "names"), (one,))
    shown = texts(plot)
    assert {"LoRA, rank 1", "full", "accuracy"} <= set(shown)
    strokes = [node for node in parsed(plot).iter("path") if node.get("stroke") == one.style.color]
    assert len(strokes) == 1  # one of the two has an interval
    assert parsed(plot).get("aria-label") == "title <b>"


def test_marks_lie_where_their_values_are():
    one = Series("", (0.0, 5.0, 10.0), (1.0, 2.0, 3.0), draws="joined")
    plot = Plot("t", "f", Axis("x"), Axis("y"), (one,))
    marks = [n.get("transform") for n in parsed(plot).iter("path") if n.get("transform")]
    places = [tuple(map(float, m[10:-1].split())) for m in marks]
    (a, b), (c, d), (e, f) = places
    assert c - a == pytest.approx(e - c, abs=0.2)
    assert d - b == pytest.approx(f - d, abs=0.2)
    assert b > d > f  # up is more


def test_a_logarithmic_axis_is_one():
    one = Series("", (1.0, 10.0, 100.0), (1.0, 1.0, 1.0))
    plot = Plot("t", "f", Axis("x", "log"), Axis("y"), (one,))
    marks = [n.get("transform") for n in parsed(plot).iter("path") if n.get("transform")]
    a, c, e = (float(m[10:-1].split()[0]) for m in marks)
    assert c - a == pytest.approx(e - c, abs=0.2)
    assert {"1", "10", "100"} <= set(texts(plot))


def test_the_legend_names_every_series():
    series = tuple(Series(f"s{n}", (1.0, 2.0), (1.0, n)) for n in range(len(SYMBOLS)))
    plot = Plot("t", "f", Axis("x"), Axis("y"), series)
    assert {f"s{n}" for n in range(len(SYMBOLS))} <= set(texts(plot))
    assert height(plot, legend=True) > height(plot) == 380
    assert "s0" not in svg(plot, legend=False)


def test_lines_are_named_at_their_ends_where_there_is_room():
    series = tuple(
        Series(name, (1.0, 2.0), (0.0, end), draws="joined", style=method_style("lora", n))
        for n, (name, end) in enumerate((("low", 1.0), ("high " * 20, 9.0)))
    )
    plot = Plot("t", "f", Axis("x"), Axis("y"), series)
    shown = [one for one in texts(plot) if one.startswith(("low", "high"))]
    assert shown == ["low", short("high " * 20)]
    assert len(shown[1]) <= LONGEST
    ends = [n for n in parsed(plot).iter("text") if n.text in shown]
    assert float(ends[0].get("y")) > float(ends[1].get("y"))
    assert float(ends[1].get("x")) + 6 * len(shown[1]) < WIDTH


def test_cells_hold_their_numbers():
    plot = Plot("t", "f", Axis("task", "names"), Axis("after", "names"),
                cells=((0.5, None), (0.25, 1.0)), columns=("a", "b"), rows=("r", "s"))  # fmt: skip
    shown = texts(plot)
    assert {"0.5", "0.25", "1", "a", "b", "r", "s", "task"} <= set(shown)
    assert len(list(parsed(plot).iter("rect"))) == 3


def test_text_is_shown_as_it_is():
    one = Series("</svg><script>", (1.0,), ("a\u202eb",))
    plot = Plot("t", "f", Axis("x"), Axis("", "names"), (one,))
    assert {"</svg><script>", "a<U+202E>b"} <= set(texts(plot))


def test_equal_values_have_room():
    plot = Plot("t", "f", Axis("x"), Axis("y"), (Series("", (0.0, 0.0), (0.0, 0.0)),))
    assert "nan" not in svg(plot)


def test_long_names_are_broken_at_commas_then_at_hyphens():
    assert folded("LoRA, rank 8") == ["LoRA, rank 8"]
    assert folded("LoRA, rank 8, learning rate 0.001, on q_proj,v_proj") == [
        "LoRA, rank 8,", "learning rate 0.001,", "on q_proj,v_proj",
    ]  # fmt: skip
    assert folded("ours target_modules=query_value rank=1") == [
        "ours", "target_modules=query_value", "rank=1",
    ]  # fmt: skip
    assert folded("some-long-model-name/of-an-organization-1b") == [
        "some-long-model-name/of-an-", "organization-1b",
    ]  # fmt: skip


def test_long_titles_of_axes_have_two_lines():
    assert wrapped("accuracy (%)") == ["accuracy (%)"]
    assert wrapped("forgetting (nats per token)") == ["forgetting (nats", "per token)"]
    assert wrapped("a" * 40) == ["a" * 40]

from peftlens.figures.method_styles import method_style
from peftlens.figures.spec import Axis, Plot, Series
from peftlens.reports.figure import is_labeled_directly, page_figure, shared_legend


def plot(*names, ends=None):
    series = tuple(
        Series(name, (0.0, 1.0), (0.0, float(end)), draws="joined", style=method_style("lora", n))
        for n, (name, end) in enumerate(zip(names, ends or range(len(names)), strict=True))
    )
    return Plot("t", "f", Axis("x"), Axis("y"), series)


def test_legends_are_text_of_the_page():
    figure = page_figure("a", plot("</script>", "b", ends=(0, 0)))
    assert [entry.name for entry in figure.legend] == ["</script>", "b"]
    assert "stroke-dasharray" in figure.legend[1].swatch
    assert ">b<" not in figure.picture
    assert '"showlegend":false' in figure.spec
    assert "<" not in figure.spec


def test_one_legend_for_figures_of_the_same_series():
    one, same, other = (page_figure("a", plot(*names)) for names in ("ab", "ab", "ac"))
    unnamed = page_figure("a", plot(""))
    assert shared_legend([one, same, unnamed]) == one.legend
    assert shared_legend([one, other]) == ()
    assert shared_legend([unnamed]) == ()


def test_labels_at_lines_need_room_in_all_figures():
    apart, close = (page_figure("a", plot("a", "b", ends=ends)) for ends in ((0, 1), (1, 1)))
    assert is_labeled_directly([apart])
    assert not is_labeled_directly([apart, close])

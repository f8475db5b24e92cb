"""Figures on a page: Plotly's description, a static picture, and legends as text of the page."""

from collections.abc import Iterable
from dataclasses import dataclass

from peftlens.figures import plotly_figure, svg
from peftlens.figures.marks import swatch
from peftlens.figures.spec import Plot


@dataclass(frozen=True)
class LegendEntry:
    """Entry of a legend.

    Attributes:
        name: name of the series.
        swatch: its line and mark, as SVG.
    """

    name: str
    swatch: str


@dataclass(frozen=True)
class Figure:
    """A figure on the page.

    Attributes:
        id: id of its element.
        plot: title, finding and data.
        spec: Plotly's figure as JSON.
        picture: static picture as SVG.
        legend: names of its series, in order.
    """

    id: str
    plot: Plot
    spec: str
    picture: str
    legend: tuple[LegendEntry, ...]


def page_figure(name: str, plot: Plot) -> Figure:
    """Make a figure whose legend is not in the picture, but text of the page.

    Args:
        name: id of its element.
        plot: the plot.
    """
    spec = plotly_figure.figure(plot, legend=False).to_json() or "{}"
    return Figure(
        name,
        plot,
        spec.replace("<", "\\u003c"),  # escaped so that the JSON can't close its script element
        svg.svg(plot, legend=False),
        tuple(LegendEntry(one.name, swatch(one)) for one in plot.legend),
    )


def shared_legend(figures: Iterable[Figure]) -> tuple[LegendEntry, ...]:
    """Return the legend that all figures with a legend share; empty if they differ."""
    legends = list(dict.fromkeys(one.legend for one in figures if one.legend))
    return legends[0] if len(legends) == 1 else ()


def is_labeled_directly(figures: Iterable[Figure]) -> bool:
    """Whether all series with names are labeled at their lines, where the page is wide enough."""
    return all(one.plot.labels_directly for one in figures if one.legend)

"""Table with its figures, for notebooks: interactive Plotly figures, displayed as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import overload

import pandas as pd
import plotly.graph_objects as go

from peftlens import figures
from peftlens.figures import plotly_figure, svg
from peftlens.figures.spec import Plot
from peftlens.io.escaping import visible
from peftlens.results import table
from peftlens.results.table import measured


@dataclass(frozen=True)
class Figures(Sequence[go.Figure]):
    """Plotly figures of a table, by index; a notebook displays a static picture of each.

    Attributes:
        plots: data and labels of the figures.
    """

    plots: tuple[Plot, ...]

    def __len__(self) -> int:
        return len(self.plots)

    @overload
    def __getitem__(self, index: int) -> go.Figure: ...
    @overload
    def __getitem__(self, index: slice) -> "Figures": ...
    def __getitem__(self, index: int | slice) -> "go.Figure | Figures":
        if isinstance(index, slice):
            return Figures(self.plots[index])
        return plotly_figure.figure(self.plots[index])

    def _repr_html_(self) -> str:
        return "".join(
            f'<figure style="max-width: {svg.WIDTH}px; margin: 0 0 1em">'
            f"<figcaption>{escape(visible(plot.title))}</figcaption>{svg.svg(plot)}</figure>"
            for plot in self.plots
        )


class Table(table.Table):
    """Table of a probe: rows, meanings of the columns, and figures.

    Example:
        ```python
        table = pl.probe(run, "forgetting", items=50)
        table.to_frame()  # a pandas.DataFrame
        table.columns  # name, meaning and unit of each column
        table.plot()  # displays the figures
        table.plot()[0].show()  # the first one, interactive
        ```

    Attributes:
        name: name of the probe.
        frame: all rows, including those with the reason why nothing was measured.
        columns: name, meaning and unit of each column.
        config: options of the probe.
    """

    @classmethod
    def of(cls, one: table.Table) -> "Table":
        """Convert a table to one with methods for notebooks."""
        return cls(**vars(one))

    def to_frame(self) -> pd.DataFrame:
        """Copy the measured rows into a data frame."""
        return measured(self.frame).reset_index(drop=True)

    def plot(self) -> Figures:
        """Draw the table's charts.

        Returns:
            Plotly figures, one or more per chart.
        """
        return Figures(tuple(plot for chart in self.charts for plot in figures.plots(self, chart)))

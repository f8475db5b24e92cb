"""Plots of the page's sections: which charts each section draws, and how many of their figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peftlens import figures
from peftlens.figures.spec import Plot
from peftlens.reports import loss_curves, soft_prompt_comparisons, soft_prompt_figures
from peftlens.results.table import Table, measured

DRAWN = 24  # figures of one chart on the page
MANY = 24  # configurations from which on the whole page has a limit
PAGE = 24  # figures of such a page, as far as each chart has one

# tables whose figures are made of several columns or tables
_OWN: dict[str, Callable[[Mapping[str, Table]], list[Plot]]] = {
    loss_curves.NAME: lambda tables: loss_curves.loss_plots(tables[loss_curves.NAME]),
    "soft_prompt_null": soft_prompt_figures.null_plots,
    "soft_prompt_neighbors": soft_prompt_figures.neighbor_plots,
    "soft_prompt_task_words": soft_prompt_comparisons.task_word_plots,
    "soft_prompt_faithfulness": soft_prompt_comparisons.faithfulness_plots,
    "vocabulary_clusters": soft_prompt_comparisons.cluster_plots,
}


@dataclass(frozen=True)
class SectionPlots:
    """Plots of a section.

    Attributes:
        charts: plots of each chart, in order.
        is_cut: whether a chart has more plots than these.
    """

    charts: list[list[Plot]]
    is_cut: bool = False


def section_plots(
    tables: Mapping[str, Table], *, has_chooser: bool = False
) -> dict[str, SectionPlots]:
    """Make the plots of every table.

    Pages with more configurations than a figure has room for get 24 figures: the first of each
    chart, then the second ones, as far as they fit.

    Args:
        tables: tables by name, in the order of the page.
        has_chooser: whether the page has a chart of any two metrics, which contains Pareto charts.
    """
    made = {
        (name, n): of_chart
        for name in tables
        for n, of_chart in enumerate(_of_table(tables, name, has_chooser))
    }
    names = {name for one in tables.values() for name in _configurations(one)}
    kept = _kept(made, PAGE - has_chooser if len(names) > MANY else DRAWN * len(made))
    return {
        name: SectionPlots(
            [of_chart[: kept[key]] for key, of_chart in made.items() if key[0] == name],
            any(len(of_chart) > kept[key] for key, of_chart in made.items() if key[0] == name),
        )
        for name in tables
    }


_Charts = Mapping[tuple[str, int], list[Plot]]  # plots by table and number of the chart


def _kept(charts: _Charts, room: int) -> dict[tuple[str, int], int]:
    """Return how many plots of each chart are kept."""
    kept = {key: min(1, len(of_chart)) for key, of_chart in charts.items()}
    for place in range(1, DRAWN):
        for key, of_chart in charts.items():
            if len(of_chart) > place and sum(kept.values()) < room:
                kept[key] += 1
    return kept


def _configurations(one: Table) -> set[str]:
    return {*one.frame["configuration"].dropna()} if "configuration" in one.frame else set()


def _of_table(tables: Mapping[str, Table], name: str, has_chooser: bool) -> list[list[Plot]]:
    """Make the plots of one table, a list for each chart that is not drawn elsewhere."""
    if name in _OWN:
        return [_OWN[name](tables)]
    charts = [one for one in tables[name].charts if not (has_chooser and one.kind == "pareto")]
    if name == "task_accuracy" and _draws_accuracy(tables):
        charts = [one for one in charts if one.y != "accuracy"]
    if name == "learning" and loss_curves.NAME in tables:
        charts = [one for one in charts if one.y != "loss"]
    return [figures.plots(tables[name], chart, DRAWN + 1) for chart in charts]


def _draws_accuracy(tables: Mapping[str, Table]) -> bool:
    """Whether `rank_chart` draws the accuracies of all configurations of `task_accuracy`."""
    if "rank_chart" not in tables:
        return False
    drawn = set(tables["rank_chart"].frame["configuration"])
    scored = measured(tables["task_accuracy"].frame).dropna(subset=["accuracy"])
    return set(scored["configuration"]) <= drawn

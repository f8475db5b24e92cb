"""Report of studies and runs as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from peftlens.api.study import Study
from peftlens.reports import page
from peftlens.runs.run import Run

Reportable = Study | Run | str | Path


def report(
    target: Reportable | Sequence[Reportable],
    out: str | Path | None = None,
    *,
    title: str | None = None,
    assets: bool = False,
) -> Path:
    """Write the report of a study, of runs, or of several of these together, as one HTML file.

    Example:
        ```python
        pl.report("studies/my-study")
        pl.report([study, other], "both.html")
        ```

    Args:
        target: studies, runs, or their folders.
        out: file of the page; by default `report.html` in a study's folder, or in the current
            folder for a run.
        title: title of the page; the names of the studies by default.
        assets: whether Plotly is written to a separate file next to the page, which several pages
            can share.

    Raises:
        InputError: a folder holds no study and no run, or there are several folders and no `out`.
    """
    several = [target] if isinstance(target, Study | Run | str | Path) else target
    return page.write([_folder(one) for one in several], out, title=title, assets=assets)


def _folder(one: Reportable) -> str | Path:
    if isinstance(one, Study):
        return one.folder
    return one.path if isinstance(one, Run) else one

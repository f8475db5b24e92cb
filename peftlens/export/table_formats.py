"""Table formats: a benchmark table as LaTeX, Markdown, CSV or HTML, with its provenance."""

import html
import re
from collections.abc import Callable

import pandas as pd

from peftlens import __version__
from peftlens.export.latex import escaped
from peftlens.io import escaping
from peftlens.numerics.counts import counted
from peftlens.numerics.rounding import interval
from peftlens.results.sequential import whole_study
from peftlens.results.study_results import StudyResults

BOLD = "font-weight: bold;"
_MARKDOWN = re.compile(r"([\\`*_{\[\]$~|])")


def csv(one: StudyResults, table: pd.DataFrame) -> str:
    """Format as tidy CSV: a row per configuration, task and metric; read by `escaping.from_csv`."""
    head = "".join(f"# {line}\n" for line in source(one, "csv"))
    return head + escaping.to_csv(table)


def latex(one: StudyResults, table: pd.DataFrame) -> str:
    """Format as a LaTeX table environment, for the packages booktabs and textcomp."""
    head = "".join(f"% {line}\n" for line in source(one, "latex"))
    styler = _styled(table, escaped)
    label = re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-") or "peftlens"
    return head + styler.to_latex(
        hrules=True,
        convert_css=True,
        column_format="l" * len(styler.columns),
        position_float="centering",
        caption=escaped(caption(one, table)),
        label=f"tab:{label}",
    )


def markdown(one: StudyResults, table: pd.DataFrame) -> str:
    """Format as a GitHub Markdown table."""
    wide, bold = _wide(table)
    lines = [f"<!-- {line.replace('--', '- -')} -->" for line in source(one, "markdown")]
    lines += [
        "",
        _piped([_plain(str(name)) for name in wide.columns]),
        "|---" * wide.shape[1] + "|",
    ]
    for cells, marks in zip(wide.to_numpy(), bold.to_numpy(), strict=True):
        texts = [f"**{_plain(c)}**" if m else _plain(c) for c, m in zip(cells, marks, strict=True)]
        lines.append(_piped(texts))
    return "\n".join([*lines, "", _plain(caption(one, table)), ""])


def as_html(one: StudyResults, table: pd.DataFrame) -> str:
    """Format as an HTML table element."""
    head = "".join(
        f"<!-- {html.escape(line).replace('--', '- -')} -->\n" for line in source(one, "html")
    )
    styler = _styled(table, lambda text: html.escape(escaping.visible(text)))
    styler = styler.set_caption(html.escape(escaping.visible(caption(one, table))))
    return head + styler.set_uuid("peftlens").to_html()


FORMATS: dict[str, Callable[[StudyResults, pd.DataFrame], str]] = {
    "latex": latex,
    "markdown": markdown,
    "csv": csv,
    "html": as_html,
}


def source(one: StudyResults, output: str) -> list[str]:
    """Describe the provenance of an export: command, version, git state, data, date of the runs."""
    versions = dict.fromkeys(run.record.environment["packages"]["peftlens"] for run in one.runs)
    commits = dict.fromkeys(call["code"] for call in one.calls if call.get("code"))
    digests = [run.record.depends_on for run in one.runs]
    bases, data = (
        ", ".join(dict.fromkeys(of_run[what][:16] for of_run in digests if what in of_run))
        or "unknown"
        for what in ("base", "data")
    )
    dates = [call["began"][:10] for call in one.calls]
    ran = " to ".join(dict.fromkeys((min(dates), max(dates)))) if dates else "an unrecorded date"
    folder = whole_study(one.folder).name
    lines = [
        f"peftlens table {folder} --format {output}, by peftlens {__version__}",
        f"study {one.name}: {counted(len(one.runs), 'run')} of {ran}, "
        f"by peftlens {', '.join(versions) or 'none'}"
        + (f" at commit {', '.join(commits)}" if commits else ", git state not recorded"),
        f"SHA-256 of the base {bases}, of the data {data}, of the result tables {one.sha256}",
    ]
    return [escaping.visible(line, keep="") for line in lines]


def caption(one: StudyResults, table: pd.DataFrame) -> str:
    """Write the caption: contents, kind of intervals, number of seeds and examples."""
    ways = [way for way in table["ci_method"].dropna().unique() if way and way != "exact"]
    parts = [f"Study {one.name}: mean"]
    if ways:
        parts.append(f" (95 % interval: {'; '.join(ways)})")
    parts.append(f", {_span(table['n_seeds'][table['n_seeds'] > 0], 'seed')}")
    if table["n_items"].notna().any():
        parts.append(f", {_span(table['n_items'].dropna(), 'item')}")
    parts.append(".")
    if table["best"].any():
        parts.append(" Bold: a paired test separates it from every other one (q up to 0.05).")
    return "".join(parts)


def _span(values: pd.Series, what: str) -> str:
    low, high = int(values.min()), int(values.max())
    return ("" if low == high else f"{low:,} to ") + counted(high, what)


def _wide(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pivot to a row per configuration and task and a column per metric; and the bold cells."""
    several = table["task"].nunique() > 1
    keys = ["configuration", "task"] if several else ["configuration"]
    units = table.drop_duplicates("metric").set_index("metric")["unit"]
    titles = {m: m if u == "1" else f"{m} ({u})" for m, u in units.items()}
    cells = table.assign(
        text=[
            interval(*row)
            for row in zip(table["mean"], table["ci_low"], table["ci_high"], strict=True)
        ]
    )
    index = table[keys].drop_duplicates()
    wide, bold = index.copy(), index.assign(**dict.fromkeys(keys, False))
    for metric, title in titles.items():
        rows = cells[cells["metric"] == metric].drop_duplicates(keys).set_index(keys)
        place = pd.MultiIndex.from_frame(index) if several else pd.Index(index["configuration"])
        wide[title] = rows["text"].reindex(place).fillna("–").to_numpy()
        bold[title] = rows["best"].reindex(place).fillna(False).astype(bool).to_numpy()
    return wide.reset_index(drop=True), bold.reset_index(drop=True)


def _styled(table: pd.DataFrame, escape: Callable[[str], str]):
    wide, bold = _wide(table)
    wide = wide.map(escape).rename(columns=lambda name: escape(str(name)))
    marks = bold.map(lambda one: BOLD if one else "").set_axis(wide.columns, axis=1)
    return wide.style.hide(axis="index").apply(lambda _: marks, axis=None)


def _piped(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Escape Markdown, HTML and mathematics."""
    text = escaping.visible(text, keep="").replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", text)

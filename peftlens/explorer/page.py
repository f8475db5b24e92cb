"""Explorer page: render the explorer's data as one offline HTML page.

The points are written pixel by pixel by the page's own scripts, so it needs no library, no WebGL
and no `unsafe-eval` in its policy. It imports no torch.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftlens import __version__
from peftlens.explorer.data import ExplorerData, PromptTrajectory
from peftlens.explorer.packing import packed
from peftlens.explorer.payload import changed, direction_place, payload, placed
from peftlens.io import html as pages

SCRIPTS = (
    "data", "state", "search", "camera", "points", "overlay", "labels", "map", "neighbors",
    "colors", "lists", "legend", "panel", "main",
)  # fmt: skip
METRIC_NAMES = {
    "cosine": "cosine",
    "centered": "cosine after centering",
    "dot": "dot product",
    "euclidean": "Euclidean distance",
    "csls": "CSLS",
}
PACKAGE = "peftlens.explorer"  # package with the template, style and scripts
_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)


@dataclass(frozen=True)
class Explorer:
    """Page of the explorer; a notebook displays it.

    Attributes:
        text: HTML text of the page.
    """

    text: str

    def save(self, file: str | Path) -> Path:
        """Write the page.

        Raises:
            InputError: its folder does not exist.
        """
        return pages.write(self.text, Path(file))

    def _repr_html_(self) -> str:
        # a frame separates the page's styles from those of the notebook
        return (
            f'<iframe srcdoc="{html.escape(self.text)}" sandbox="allow-scripts allow-downloads" '
            'style="width: 100%; height: 60rem; border: 0"></iframe>'
        )


def write(data: ExplorerData, title: str, out: Path) -> Path:
    """Write the page."""
    return pages.write(render(data, title), out)


def render(
    data: ExplorerData, title: str, *, ids: Sequence[str] = (), layers: Sequence[int] = ()
) -> str:
    """Render the page as text; the same arrays give the same bytes.

    Args:
        data: what the page shows.
        title: title of the page.
        ids: run id of each of the data's trajectories, if a server answers the page's questions.
        layers: blocks, counted from 1, after which the server finds neighbors.
    """
    live = bool(layers)
    return pages.render(
        PACKAGE,
        [bundle()],
        title=title,
        live=live,
        layers=layers,
        explorer_data=_template_values(data),
        colors=_colors(data),
        metrics=[(one, METRIC_NAMES.get(one, one)) for one in _metrics(data, live)],
        data=packed(payload(data) | {"live": live, "ids": [*ids]}),
        version=__version__,
    )


def bundle() -> str:
    """Concatenate the page's modules without imports and exports; their names are distinct."""
    parts = [_IMPORT.sub("", pages.source(PACKAGE, f"scripts/{name}.js")) for name in SCRIPTS]
    return "\n".join(re.sub(r"^export ", "", part, flags=re.MULTILINE) for part in parts)


def _metrics(data: ExplorerData, live: bool) -> list[str]:
    """List the metrics by which the page knows neighbors of tokens or vectors."""
    of_vectors = (metric for one in data.trails for metric in one.near)
    of_tokens = data.neighbors.metrics if data.neighbors else METRIC_NAMES if live else ()
    return list(dict.fromkeys([*of_tokens, *of_vectors])) or ["cosine"]


def _template_values(data: ExplorerData) -> dict[str, Any]:
    """Format the values that the template shows."""
    return {
        "size": f"{len(data.tokens):,}",
        "base": data.base,
        "sha256": data.sha256,
        "width": data.width,
        "k": min(15, len(data.tokens) - 1),
        "recall": f"{100 * data.recall:.0f} %",
        "chance": f"{100 * data.chance:.2g} %",
        "projection": data.projection,
        "has_space": data.space is not None,
        "choices": [
            *(one.name for one in data.trails),
            *(f"{one.name}, inside" for one in placed(data)),
        ],
        "runs": [{"name": one.name, "last": _last(data, one)} for one in data.trails],
        "inside": [
            {
                "name": one.name,
                "points": [
                    (point, [data.tokens[token] for token in point.tokens])
                    for point in sorted(
                        one.points, key=lambda one: (one.layer, direction_place(one))
                    )
                ],
            }
            for one in placed(data)
        ],
        "notes": [f"{one.name}: {note}" for one in data.directions for note in one.notes],
        "shifts": [
            {"name": one.name, "text": one.text}
            | {
                side: [
                    (data.tokens[token], f"{change:+z.2f}") for token, change in getattr(one, side)
                ]
                for side in ("raised", "lowered")
            }
            for one in data.shifts
        ],
    }


def _last(data: ExplorerData, one: PromptTrajectory) -> list[tuple[int, str, list[str]]]:
    """List each vector's nearest tokens at the last step, for readers without scripts."""
    ids = one.near.get("cosine", next(iter(one.near.values())))[0][-1]
    return [
        (position, start or "–", [data.tokens[token] for token in ids[n]])
        for n, (position, start) in enumerate(zip(one.positions, one.starts, strict=True))
    ]


def _colors(data: ExplorerData) -> list[tuple[str, str]]:
    clusters = [("cluster", "cluster")] if data.cluster is not None else []
    task = [("task", "nearness to the task's labels")] if data.task is not None else []
    changes = [
        (f"change{n}", f"raised or lowered by {one.name}") for n, one in enumerate(changed(data))
    ]
    kinds, norm = ("kind", "kind of token"), ("norm", "length of the embedding")
    return [kinds, *clusters, norm, *task, *changes]

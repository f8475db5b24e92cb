"""Explorer page: render the explorer's data as one offline HTML page.

It imports no torch.
"""

import base64
import html
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.offline
from numpy.typing import NDArray

from peftlens import __version__
from peftlens.explorer.data import KINDS, ExplorerData, PromptTrajectory
from peftlens.io import html as pages

SCRIPTS = ("data", "state", "search", "cloud", "overlay", "colors", "lists", "main")
PACKAGE = "peftlens.explorer"  # package with the template, style and scripts
_TYPES = {"uint8": "u1", "uint16": "u2"}
_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)


@dataclass(frozen=True)
class Explorer:
    """The explorer's page; a notebook shows it.

    Attributes:
        text: the whole page.
    """

    text: str

    def save(self, file: str | Path) -> Path:
        """Write the page.

        Raises:
            InputError: its folder is not there.
        """
        return pages.write(self.text, Path(file))

    def _repr_html_(self) -> str:
        # in a frame, so that its styles and the notebook's do not affect each other
        return (
            f'<iframe srcdoc="{html.escape(self.text)}" sandbox="allow-scripts allow-downloads" '
            'style="width: 100%; height: 60rem; border: 0"></iframe>'
        )


def write(atlas: ExplorerData, title: str, out: Path) -> Path:
    """Write the page."""
    return pages.write(render(atlas, title), out)


def render(atlas: ExplorerData, title: str) -> str:
    """Render the page as text; the same arrays give the same bytes."""
    data = json.dumps(payload(atlas), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return pages.render(
        PACKAGE,
        [plotly.offline.get_plotlyjs(), bundle()],
        title=title,
        atlas=_shown(atlas),
        colors=_colors(atlas),
        # escaped so that the JSON can't close its script element
        data=data.replace("<", "\\u003c"),
        version=__version__,
    )


def bundle() -> str:
    """Concatenate the page's modules without imports and exports; their names are distinct."""
    parts = [_IMPORT.sub("", pages.source(PACKAGE, f"scripts/{name}.js")) for name in SCRIPTS]
    return "\n".join(re.sub(r"^export ", "", part, flags=re.MULTILINE) for part in parts)


def payload(atlas: ExplorerData) -> dict[str, Any]:
    """Convert the data to the JSON structure that the page's scripts read."""
    places = np.clip(np.round(atlas.scaled(atlas.points)), 0, 65_535).astype(np.uint16)
    return {
        "tokens": list(atlas.tokens),
        "x": _packed(places[:, 0]),
        "y": _packed(places[:, 1]),
        "norm": _packed(np.round(255 * atlas.norm).astype(np.uint8)),
        "kind": _packed(atlas.kind),
        "kinds": KINDS,
        "cluster": None
        if atlas.cluster is None
        else _packed(np.where(atlas.cluster < 0, 65_535, atlas.cluster).astype(np.uint16)),
        "clusterNames": atlas.cluster_names,
        "task": None
        if atlas.task is None
        else _packed(np.round(255 * atlas.task).astype(np.uint8)),
        "runs": [_trail(atlas, one) for one in atlas.trails],
        "shifts": [asdict(one) for one in atlas.shifts],
    }


def _trail(atlas: ExplorerData, one: PromptTrajectory) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict,
        "steps": one.steps,
        "positions": one.positions,
        "starts": one.starts,
        "xy": np.round(atlas.scaled(one.xy), 1).tolist(),
        "moved": _nullable(one.moved),
        "off": _nullable(one.off),
        "verdicts": one.verdicts,
        "q": one.q,
        "near": {
            metric: {"ids": ids.tolist(), "similarity": np.round(similarity, 4).tolist()}
            for metric, (ids, similarity) in one.near.items()
        },
    }


def _packed(values: NDArray[Any]) -> dict[str, str]:
    data = np.ascontiguousarray(values)
    return {"dtype": _TYPES[data.dtype.name], "data": base64.b64encode(data.tobytes()).decode()}


def _nullable(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(one) else round(float(one), 4) for one in row] for row in values]


def _shown(atlas: ExplorerData) -> dict[str, Any]:
    return {
        "size": f"{len(atlas.tokens):,}",
        "base": atlas.base,
        "sha256": atlas.sha256,
        "width": atlas.width,
        "k": min(15, len(atlas.tokens) - 1),
        "recall": f"{100 * atlas.recall:.0f} %",
        "chance": f"{100 * atlas.chance:.2g} %",
        "projection": atlas.projection,
        "metrics": list(dict.fromkeys(metric for one in atlas.trails for metric in one.near)),
        "runs": [{"name": one.name, "last": _last(atlas, one)} for one in atlas.trails],
        "shifts": [
            {"name": one.name, "text": one.text}
            | {
                side: [
                    (atlas.tokens[token], f"{change:+.2f}") for token, change in getattr(one, side)
                ]
                for side in ("raised", "lowered")
            }
            for one in atlas.shifts
        ],
    }


def _last(atlas: ExplorerData, one: PromptTrajectory) -> list[tuple[int, str, list[str]]]:
    """List each vector's nearest tokens at the last step, for readers without scripts."""
    ids = one.near.get("cosine", next(iter(one.near.values())))[0][-1]
    return [
        (position, start or "–", [atlas.tokens[token] for token in ids[n]])
        for n, (position, start) in enumerate(zip(one.positions, one.starts, strict=True))
    ]


def _colors(atlas: ExplorerData) -> list[tuple[str, str]]:
    clusters = [("cluster", "cluster")] if atlas.cluster is not None else []
    task = [("task", "nearness to the task's labels")] if atlas.task is not None else []
    return [*clusters, ("kind", "kind of token"), ("norm", "length of the embedding"), *task]

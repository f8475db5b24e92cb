"""Explorer page: render the explorer's data as one offline HTML page.

It imports no torch.
"""

import base64
import gzip
import html
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.offline
from numpy.typing import NDArray

from peftlens import __version__
from peftlens.explorer.data import (
    DIRECTION_KINDS,
    KINDS,
    AdapterDirections,
    DirectionPoint,
    ExplorerData,
    PromptTrajectory,
)
from peftlens.io import html as pages

SCRIPTS = ("data", "state", "search", "cloud", "overlay", "colors", "lists", "main")
PACKAGE = "peftlens.explorer"  # package with the template, style and scripts
_TYPES = {"uint8": "u1", "uint16": "u2"}
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


def render(data: ExplorerData, title: str) -> str:
    """Render the page as text; the same arrays give the same bytes."""
    return pages.render(
        PACKAGE,
        [plotly.offline.get_plotlyjs(), bundle()],
        title=title,
        explorer_data=_template_values(data),
        colors=_colors(data),
        data=compressed(payload(data)),
        version=__version__,
    )


def compressed(values: dict[str, Any]) -> str:
    """Encode JSON by gzip and base64, which can't close its script element."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def bundle() -> str:
    """Concatenate the page's modules without imports and exports; their names are distinct."""
    parts = [_IMPORT.sub("", pages.source(PACKAGE, f"scripts/{name}.js")) for name in SCRIPTS]
    return "\n".join(re.sub(r"^export ", "", part, flags=re.MULTILINE) for part in parts)


def payload(data: ExplorerData) -> dict[str, Any]:
    """Convert the data to the JSON structure that the page's scripts read."""
    places = np.clip(np.round(data.scaled(data.points)), 0, 65_535).astype(np.uint16)
    return {
        "tokens": list(data.tokens),
        "x": _packed(places[:, 0]),
        "y": _packed(places[:, 1]),
        "norm": _packed(np.round(255 * data.norm).astype(np.uint8)),
        "kind": _packed(data.kind),
        "kinds": KINDS,
        "cluster": None
        if data.cluster is None
        else _packed(np.where(data.cluster < 0, 65_535, data.cluster).astype(np.uint16)),
        "clusterNames": data.cluster_names,
        "task": None if data.task is None else _packed(np.round(255 * data.task).astype(np.uint8)),
        "runs": [
            *(_trajectory(data, one) for one in data.trails),
            *(_layers(data, one) for one in _placed(data)),
        ],
        "shifts": [asdict(one) for one in data.shifts],
        "changes": [_change(one.change) for one in _changed(data)],
    }


def _placed(data: ExplorerData) -> list[AdapterDirections]:
    return [one for one in data.directions if one.points]


def _changed(data: ExplorerData) -> list[AdapterDirections]:
    return [one for one in data.directions if one.change is not None]


def _layers(data: ExplorerData, one: AdapterDirections) -> dict[str, Any]:
    """Arrange points like a trajectory: layers for steps, and a vector for each kind and rank.

    A layer without a vector has null in its place.
    """
    layers = sorted({point.layer for point in one.points})
    places = sorted({_place(point) for point in one.points})
    by_place = {(point.layer, _place(point)): point for point in one.points}
    grid = [[by_place.get((layer, place)) for place in places] for layer in layers]

    def cells(value: Callable[[DirectionPoint], Any]) -> list[list[Any]]:
        return [[point and value(point) for point in row] for row in grid]

    return {
        "name": f"{one.name}, inside",
        "steps": layers,
        "positions": [_label(kind, rank) for kind, rank in places],
        "kinds": [DIRECTION_KINDS[kind] for kind, _ in places],
        "names": cells(lambda point: point.name),
        "sizes": cells(lambda point: float(f"{point.size:.3g}")),
        "q": cells(lambda point: point.q),
        "xy": cells(lambda point: np.round(data.scaled(point.xy), 1).tolist()),
        "near": {
            "tokens": {
                "ids": cells(lambda point: point.tokens.tolist()),
                "similarity": cells(lambda point: np.round(point.values, 2).tolist()),
            }
        },
    }


def _label(kind: int, rank: int) -> str:
    """Name a row of the page; the two signs of a direction follow each other."""
    name = DIRECTION_KINDS[kind]
    return f"{name} {rank // 2 + 1}{'+−'[rank % 2]}" if kind else name


def _place(point: DirectionPoint) -> tuple[int, int]:
    return DIRECTION_KINDS.index(point.kind), point.rank


def _change(values: NDArray[np.float32] | None) -> dict[str, Any]:
    """Scale changes so that 128 is none; the largest thousandth is cut off."""
    assert values is not None  # see `_changed`
    limit = float(np.quantile(np.abs(values), 0.999)) or 1.0
    shares = np.clip(values / limit, -1, 1)
    return {"values": _packed(np.round(128 + 127 * shares).astype(np.uint8)), "limit": limit}


def _trajectory(data: ExplorerData, one: PromptTrajectory) -> dict[str, Any]:
    return {
        "name": one.name,
        "verdict": one.verdict,
        "steps": one.steps,
        "positions": one.positions,
        "starts": one.starts,
        "xy": np.round(data.scaled(one.xy), 1).tolist(),
        "displacement": _nullable(one.displacement),
        "offVocabulary": _nullable(one.off_vocabulary),
        "verdicts": one.verdicts,
        "q": one.q,
        "near": {
            metric: {"ids": ids.tolist(), "similarity": np.round(similarity, 4).tolist()}
            for metric, (ids, similarity) in one.near.items()
        },
    }


def _packed(values: NDArray[Any]) -> dict[str, str]:
    """Encode an array as its dtype and base64 text."""
    array = np.ascontiguousarray(values)
    return {"dtype": _TYPES[array.dtype.name], "data": base64.b64encode(array.tobytes()).decode()}


def _nullable(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(one) else round(float(one), 4) for one in row] for row in values]


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
        "metrics": list(dict.fromkeys(metric for one in data.trails for metric in one.near)),
        "choices": [
            *(one.name for one in data.trails),
            *(f"{one.name}, inside" for one in _placed(data)),
        ],
        "runs": [{"name": one.name, "last": _last(data, one)} for one in data.trails],
        "inside": [
            {
                "name": one.name,
                "points": [
                    (point, [data.tokens[token] for token in point.tokens])
                    for point in sorted(one.points, key=lambda one: (one.layer, _place(one)))
                ],
            }
            for one in _placed(data)
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
        (f"change{n}", f"raised or lowered by {one.name}") for n, one in enumerate(_changed(data))
    ]
    rest = [("kind", "kind of token"), ("norm", "length of the embedding")]
    return [*clusters, *rest, *task, *changes]

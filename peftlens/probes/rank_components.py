"""Components of each update in its SVD basis: how sparsely they fire, and on which text.

ΔW = Σ σ_i u_i v_iᵀ adds σ_i s_i(x) u_i to the output of a module with the input x, where
s_i(x) = v_iᵀ x is one number for each token. A component that fires on few tokens may be read off
them (rank-1 LoRA as neurons: arXiv:2511.06739). A LoRA's own A and B are no such basis: B M and
M⁻¹ A are the same update for every invertible r x r matrix M, so that nothing may be read off
single rows of A. The singular vectors are unique up to a common sign as far as the singular values
differ; `separation` says how far. Sparseness is Hoyer's (2004, JMLR 5, section 3.1). Its null, and
that of the difference between texts, is random directions in the input of the same module.

Beside a component that is no sparser stands the power: the share told as sparse of planted ones, of
whose Σ s² a known share falls on one token of general text. The AUC compares how active a component
is on the whole: one that fires on a single word of the task hardly moves it, whatever its size, and
is seen in `token_task` alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.directions import Component, update_components
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.diffing.planted_components import LEVEL, SHARES, sparseness_power
from peftlens.diffing.projections import (
    Projected,
    auc,
    contrast_rows,
    hoyer,
    in_context,
    projections,
    random_directions,
    standardized_p,
)
from peftlens.errors import require
from peftlens.models.architecture import part_of
from peftlens.models.base_model import BaseModel
from peftlens.models.target_modules import BLOCK
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # meant for single runs
FILES = ("texts",)
_TOP = 0.05  # share of the tokens whose share of the energy is given


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        components: number of components of each weight, strongest first.
        task_items: number of texts of the task.
        general_items: number of general texts.
        random: number of random directions for each weight.
        texts: file with texts, one a line, in place of the task's; for an adapter whose task is
            unknown.
    """

    components: int = 4
    task_items: int = 64
    general_items: int = 8
    random: int = 40
    texts: str = ""


_TEXTS = (("task", "text of the task"), ("general", "general text"))
COLUMNS = (
    Column("weight", "name of the weight matrix"),
    Column("block", "number of the block, counted from 1"),
    Column("part", "attention, feed_forward or other"),
    Column("component", "number of the component, counted from 1, strongest first"),
    Column("value", "singular value σ of the update", "1"),
    Column("share", "σ² over ‖ΔW‖_F²", "1"),
    Column("separation", "(σ − next σ) / σ; near 0, this component and the next can be mixed", "1"),
    *(
        column
        for name, title in _TEXTS
        for column in (
            Column(f"sparseness_{name}", f"Hoyer's sparseness of s over tokens of {title}", "1"),
            Column(f"top_share_{name}", f"share of Σ s² in 5 % of the tokens of {title}", "1"),
            Column(f"token_{name}", f"token of {title} with the largest |s|"),
            Column(f"context_{name}", "text before it"),
            Column(f"activation_{name}", "s of this token", "1"),
            Column(f"n_tokens_{name}", f"number of tokens of {title}"),
        )
    ),
    Column("sparseness_random", "mean sparseness of random directions on general text", "1"),
    Column("p_sparseness", "share of random directions that are as sparse on general text", "1"),
    Column("q_sparseness", "this p, corrected over the components of the run", "1"),
    Column("auc", "probability that |s| is larger on text of the task than on general text", "1"),
    Column("p_auc", "share of random directions whose AUC is as far from 0.5", "1"),
    Column("q_auc", "this p, corrected over the components of the run", "1"),
    *(
        Column(
            f"power_at_{share}",
            f"share told as sparse (p at most {LEVEL}) of components with this share of Σ s² on "
            "one token of general text",
            "1",
        )
        for share in SHARES
    ),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="sparseness_general",
        title="Sparseness of the update's components",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per weight and component, in the model's order.

    Raises:
        NotApplicable: no weight matrix in the blocks was changed, or the base is an
            encoder-decoder.
        InputError: an option is out of range, or the file has no text.
    """
    for name in ("components", "task_items", "general_items"):
        require(name, getattr(config, name), 1)
    require("random", config.random, 2)
    base = context.base_model(run)
    require_decoder_only(base)
    rows = contrast_rows(
        run, base, texts=config.texts, task_items=config.task_items,
        general_items=config.general_items,
    )  # fmt: skip
    components = update_components(run, base, config.components, neurons=False)
    sides = {one.weight: _with_random(one, config.random) for one in components}
    with context.open_run(run) as model:
        read = {kind: projections(model, base, texts, sides) for kind, texts in rows.items()}
    known = [one for one in components if one.weight in read["general"][1]]
    firing = {kind: (places, rows[kind]) for kind, (places, _) in read.items()}
    values = {kind: {one.weight: by[one.weight] for one in known} for kind, (_, by) in read.items()}
    table = [row for one in known for row in _rows(one, base, firing, values)]
    frame = pd.DataFrame(table).reindex(columns=[column.name for column in COLUMNS])
    frame = _tested(frame, known, values)
    if known:
        texts = [(*row.prompt, *row.answer) for row in rows["general"]]
        ids = [texts[row][at] for row, at in read["general"][0]]
        random = [values["general"][one.weight][:, len(one.values) :] for one in known]
        for share, power in sparseness_power(random, ids, np.random.default_rng(0)).items():
            frame[f"power_at_{share}"] = power
    return frame


def _with_random(component: Component, count: int) -> Projected:
    """Return what a component reads, and random directions behind it."""
    assert component.reads is not None
    rng = np.random.default_rng(crc32(component.weight.encode()))
    random = random_directions(len(component.reads), count, rng)
    vectors = np.concatenate([component.reads, random], axis=1)
    return Projected(module=component.module, output=False, vectors=vectors)


Values = Mapping[str, Mapping[str, NDArray[np.float32]]]


def _rows(
    component: Component,
    base: BaseModel,
    firing: Mapping[str, tuple[list[tuple[int, int]], list[TokenizedAnswer]]],
    values: Values,
) -> Iterator[dict[str, Any]]:
    match = BLOCK.match(component.weight)
    for index, value in enumerate(component.values):
        row: dict[str, Any] = {
            "weight": component.weight,
            "block": int(match["index"]) + 1 if match else None,
            "part": part_of(component.weight),
            "component": index + 1,
            "value": value,
            "share": component.shares[index],
            "separation": component.separation[index],
        }
        for kind, (places, texts) in firing.items():
            s = values[kind][component.weight][:, index]  # (tokens,)
            at = int(np.abs(s).argmax())
            token, before = in_context(base, texts[places[at][0]], places[at][1])
            row |= {
                f"sparseness_{kind}": hoyer(s[:, None])[0],
                f"top_share_{kind}": top_share(s),
                f"token_{kind}": token,
                f"context_{kind}": before,
                f"activation_{kind}": s[at],
                f"n_tokens_{kind}": len(s),
            }
        yield row


def top_share(values: ArrayLike) -> float:
    """Return the share of the sum of squares that 5 % of the values (n,) have, rounded up."""
    squares = np.sort(np.square(np.asarray(values, float)))[::-1]
    return float(squares[: int(np.ceil(_TOP * len(squares)))].sum() / max(squares.sum(), 1e-300))


def _tested(frame: pd.DataFrame, components: list[Component], values: Values) -> pd.DataFrame:
    """Add what random directions give, with p-values and their correction over the run."""
    counts = [len(one.values) for one in components]
    sparse = [hoyer(values["general"][one.weight]) for one in components]
    chance = [one[count:].mean() for one, count in zip(sparse, counts, strict=True)]
    frame["sparseness_random"] = np.repeat(chance, counts)
    tests = {"sparseness": sparse}
    if "task" in values:
        areas = [
            auc(np.abs(values["task"][one.weight]), np.abs(values["general"][one.weight]))
            for one in components
        ]
        frame["auc"] = np.concatenate([one[:k] for one, k in zip(areas, counts, strict=True)])
        tests["auc"] = [np.abs(one - 0.5) for one in areas]
    for name, statistics in tests.items():
        p = standardized_p(statistics, counts)
        frame[f"p_{name}"], frame[f"q_{name}"] = p, benjamini_hochberg(p)
    return frame

"""Build the explorer's data from runs: the vocabulary map, trajectories and logit shifts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.explorer.data import KINDS, ExplorerData, LogitShift, PromptTrajectory
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.results.table import measured
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.clusters import clusters
from peftlens.vocab.projection import (
    Projection,
    VocabularyMap,
    place_by_neighbors,
    plane_map,
    vocabulary_map,
)
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import Vocabulary, vocabulary

NEEDED = "token_vectors"


def build_explorer(  # noqa: PLR0913  # each changes what is shown
    context: RunContext,
    runs: Sequence[TrainedModel],
    names: dict[str, str],
    projection: Projection = "umap",
    *,
    between: tuple[int, int] | None = None,
    logits: bool = False,
) -> ExplorerData:
    """Build the vocabulary map of the runs' base model, with a trajectory for each trained prompt.

    Args:
        context: gives the base model.
        runs: finished runs or adapters of one base.
        names: of each, by run id.
        projection: of the map.
        between: two vectors of the first run whose plane, at its last step, is the map instead.
        logits: measure what each run predicts more and less than its base, about ten seconds a run;
            otherwise that is shown of those runs of which it is known.

    Raises:
        InputError: the runs have different base models, or nothing to show.
    """
    base = context.shared_base_model(runs)
    finished = [run for run in runs if run.record.status == "finished"]
    able = [run for run in finished if _offers(run)]
    shifted = [run for run in finished if logits or _known(run, "logit_shift")]
    if not able and not shifted:
        methods = ", ".join(dict.fromkeys(run.config.method for run in runs))
        raise InputError(
            f"{methods}: no run has trained vectors comparable with tokens, as prompt_tuning and "
            "other methods have; --logits shows which tokens a run of any method raises and lowers"
        )
    known, groups = vocabulary(base), clusters(base)
    drawn = _between(able, base, between) if between else vocabulary_map(base, projection)
    norms = known.table.norm(dim=1).cpu().numpy()
    order = np.argsort(np.argsort(norms, kind="stable"), kind="stable")
    trails = [_trail(context, run, names[run.id], drawn) for run in track(able, "Reading vectors")]
    return ExplorerData(
        base=base.reference,
        sha256=base.sha256,
        width=known.table.shape[1],
        tokens=known.tokens,
        points=drawn.points,
        projection=drawn.projection,
        recall=drawn.recall,
        chance=drawn.chance,
        norm=order / max(1, len(order) - 1),
        kind=_kinds(known),
        cluster=groups.label,
        cluster_names=groups.names,
        task=_task(runs[0], base, known),
        trails=tuple(one for one in trails if one is not None),
        shifts=tuple(_shift(context, run, names[run.id]) for run in shifted),
    )


def _between(
    able: Sequence[TrainedModel], base: BaseModel, between: tuple[int, int]
) -> VocabularyMap:
    found = trained_vectors(able[0], base, able[0].steps[-1]) if able else None
    if found is None or found.space != "embedding":
        raise InputError("the plane of two vectors needs a run with vectors among the embeddings")
    for one in between:
        if one not in found.positions:
            listed = ", ".join(map(str, found.positions))
            raise InputError(f"there is no vector {one}; the first run has {listed}")
    rows = [found.now[found.positions.index(one)] for one in between]
    return plane_map(base, *rows)


def _task(run: TrainedModel, base: BaseModel, known: Vocabulary) -> np.ndarray | None:
    """Highest cosine of each token to a label of the run's task, between 0 and 1, shape (V,)."""
    if run.task is None:
        return None
    labels = task_of(run).labels
    if not labels:
        return None
    ids = [base.tokenizer(one, add_special_tokens=False)["input_ids"] for one in labels]
    means = torch.stack([known.table[one].mean(dim=0) for one in ids])  # (labels, d)
    cosines = torch.nn.functional.normalize(known.table) @ torch.nn.functional.normalize(means).T
    return cosines.max(dim=1).values.clamp(0, 1).cpu().double().numpy()


def _offers(run: TrainedModel) -> bool:
    return NEEDED in registry.exposed(run.config.method, run.config.method_config)


def _known(run: TrainedModel, probe: str) -> bool:
    folder = run.table_folder
    return folder is not None and (folder / f"{probe}.parquet").exists()


def _shift(context: RunContext, run: TrainedModel, name: str) -> LogitShift:
    rows = measured(probe_runner.run_probe(context, run, "logit_shift").frame)
    ends = {
        direction: tuple(
            (int(i), float(c)) for i, c in zip(own["token_id"], own["change"], strict=True)
        )
        for direction, own in rows.groupby("direction")
    }
    text = f"{rows['n_tokens'].iloc[0]:,} tokens of {rows['suite'].iloc[0]}"
    return LogitShift(name, text, ends["raised"], ends["lowered"])


def _trail(
    context: RunContext, run: TrainedModel, name: str, drawn: VocabularyMap
) -> PromptTrajectory | None:
    """None where the probe finds nothing to measure, such as a table that has not changed."""
    rows = measured(probe_runner.run_probe(context, run, "soft_prompt_neighbors").frame)
    if rows.empty or (drawn.axes is not None and rows["space"].iloc[0] != "embedding"):
        return None
    steps = tuple(int(step) for step in rows["step"].unique())
    metrics = list(rows["metric"].unique())
    first = rows[rows["metric"] == metrics[0]]
    positions = tuple(int(one) for one in first[first["step"] == steps[-1]]["position"])
    verdicts = _verdicts(context, run)
    places = []
    for step in steps:
        found = trained_vectors(run, context.base_model(run), step)
        if drawn.axes is None:
            places.append(place_by_neighbors(found.now, found.table, drawn.points))
        else:
            places.append(found.now.double().cpu().numpy() @ drawn.axes.T)
    whole = verdicts.get((steps[-1], None))
    return PromptTrajectory(
        name=name,
        verdict=whole[0] if whole else "",
        steps=steps,
        positions=positions,
        starts=tuple(_text(one) for one in first[first["step"] == steps[-1]]["start_token"]),
        xy=np.stack(places),
        moved=_grid(first, "relative_displacement", steps),
        off=_grid(first, "off_vocabulary", steps),
        verdicts=[[verdicts[step, p][0] for p in positions] for step in steps] if verdicts else [],
        q=[[verdicts[step, p][1] for p in positions] for step in steps] if verdicts else [],
        near={
            metric: (
                _lists(rows[rows["metric"] == metric], "token_ids", steps),
                _lists(rows[rows["metric"] == metric], "similarities", steps),
            )
            for metric in metrics
        },
    )


def _verdicts(
    context: RunContext, run: TrainedModel
) -> dict[tuple[int, int | None], tuple[str, float | None]]:
    """By step and position, None for the whole prompt; only what was tested already: it is slow."""
    if not _known(run, "soft_prompt_null"):
        return {}
    rows = measured(probe_runner.run_probe(context, run, "soft_prompt_null").frame)
    return {
        (int(row["step"]), None if pd.isna(row["position"]) else int(row["position"])): (
            row["verdict"],
            None if pd.isna(row["q"]) else float(row["q"]),
        )
        for row in rows[rows["metric"] == "cosine"].to_dict("records")
    }


def _grid(rows: pd.DataFrame, column: str, steps: Sequence[int]) -> np.ndarray:
    values = [rows[rows["step"] == step][column] for step in steps]
    return np.array([one.astype("Float64").to_numpy(float, na_value=np.nan) for one in values])


def _lists(rows: pd.DataFrame, column: str, steps: Sequence[int]) -> np.ndarray:
    """A column of lists of k numbers, shape (steps, positions, k)."""
    return np.stack([np.stack([*rows[rows["step"] == step][column]]) for step in steps])


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _kinds(known: Vocabulary) -> np.ndarray:
    found = np.array([_kind(token) for token in known.tokens], np.uint8)
    found[known.untrained | known.nameless] = KINDS.index("untrained")
    found[known.special] = KINDS.index("special")
    return found


def _kind(token: str) -> int:
    word = token.removeprefix("␣")
    if word.isalpha():
        return KINDS.index("begins a word" if word != token else "goes on")
    if word.isdigit():
        return KINDS.index("digits")
    partial = token.startswith("<") and token.endswith(">") and len(token) > 2
    return KINDS.index("part of a character" if partial else "marks")

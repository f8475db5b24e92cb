"""Build the explorer's data from runs: the vocabulary map and what is drawn on it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.data.tokenization import continuation_ids
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.explorer.data import (
    KINDS,
    ExplorerData,
    LogitShift,
    NeighborPairs,
    PromptTrajectory,
)
from peftlens.explorer.directions import adapter_directions
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.results.display_names import display_name
from peftlens.results.table import measured
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.clusters import clusters
from peftlens.vocab.nearest_neighbors import METRICS
from peftlens.vocab.projection import (
    Projection,
    VocabularyMap,
    place_by_neighbors,
    plane_map,
    vocabulary_map,
    vocabulary_space,
)
from peftlens.vocab.token_neighbors import token_neighbors
from peftlens.vocab.trained_vectors import trained_vectors
from peftlens.vocab.vocabulary import Vocabulary, vocabulary

NEEDED = "token_vectors"
MANY = 65_536  # tokens beyond which a page keeps neighbors by cosine only
KEPT, FEW = 8, 5  # neighbors of a token in a page of up to MANY tokens, and of more


def build_explorer(  # noqa: PLR0913  # one argument per option
    context: RunContext,
    runs: Sequence[TrainedModel],
    names: dict[str, str],
    projection: Projection = "umap",
    *,
    between: tuple[int, int] | None = None,
    logits: bool = False,
    directions: bool = False,
    neighbors: bool = True,
) -> ExplorerData:
    """Build the vocabulary map of the runs' base model, with a trajectory for each trained prompt.

    Args:
        context: access to the base model.
        runs: finished runs or adapters of one base model.
        names: names of the runs, by run id; shown as people write them.
        projection: projection of the map.
        between: two vectors of the first run, whose plane at the last step is the map instead.
        logits: whether to measure the logit shift of each run, about ten seconds per run; by
            default, only shifts that are already measured are shown.
        directions: whether to place each run's activation differences and update directions.
        neighbors: whether to keep the nearest tokens of every token; a server finds them otherwise.

    Raises:
        InputError: the runs have different base models, or nothing to show.
    """
    base = context.shared_base_model(runs)
    names = {run: display_name(name) for run, name in names.items()}
    finished = [run for run in runs if run.record.status == "finished"]
    with_vectors = [run for run in finished if _has_vectors(run)]
    shifts = [
        _shift(context, run, names[run.id])
        for run in finished
        if logits or _is_measured(run, "logit_shift")
    ]
    if not with_vectors and not any(shifts) and not (directions and finished):
        methods = ", ".join(dict.fromkeys(run.config.method for run in runs))
        raise InputError(
            f"{methods}: no run has trained vectors comparable with tokens, as prompt_tuning and "
            "other methods have; --logits shows which tokens a run of any method raises and "
            "lowers, --directions what it adds to the model's states"
        )
    vocab, partition = vocabulary(base), clusters(base)
    projected = _plane(with_vectors, base, between) if between else vocabulary_map(base, projection)
    space = None if between else vocabulary_space(base, projection)
    trails = [
        _trajectory(context, run, names[run.id], projected, space)
        for run in track(with_vectors, "Reading vectors")
    ]
    return ExplorerData(
        base=base.reference,
        sha256=base.sha256,
        width=vocab.table.shape[1],
        tokens=vocab.tokens,
        points=projected.points,
        projection=projected.projection,
        recall=projected.recall,
        chance=projected.chance,
        norm=vocab.table.norm(dim=1).cpu().numpy(),
        kind=_kinds(vocab),
        cluster=partition.label,
        cluster_names=partition.names,
        task=_task(runs[0], base, vocab),
        space=space,
        neighbors=neighbor_pairs(base) if neighbors else None,
        trails=tuple(one for one in trails if one is not None),
        shifts=tuple(one for one in shifts if one is not None),
        directions=tuple(
            adapter_directions(run, names[run.id], base, projected.points)
            for run in track(finished if directions else [], "Reading directions")
        ),
    )


def title(name: str, runs: Sequence[TrainedModel], names: dict[str, str]) -> str:
    """Return the title of a page: the run's name if it is alone, as its folder's is a hash.

    Args:
        name: name of the folder.
        runs: runs on the page.
        names: names of the runs, by run id; shown as people write them.
    """
    return display_name(names[runs[0].id]) if len(runs) == 1 else name


def neighbor_pairs(base: BaseModel) -> NeighborPairs:
    """Find the nearest tokens of every token, as many as fit in the page; then cached."""
    small = len(vocabulary(base).tokens) <= MANY
    found = (
        token_neighbors(base, KEPT, METRICS) if small else token_neighbors(base, FEW, ("cosine",))
    )
    return NeighborPairs(
        k=found.k,
        metrics=found.metrics,
        low=found.low,
        high=found.high,
        cosine=found.cosine,
        mean_product=found.mean_product,
        density=found.density,
        mean_square=found.mean_square,
    )


def _plane(
    runs: Sequence[TrainedModel], base: BaseModel, between: tuple[int, int]
) -> VocabularyMap:
    """Project the vocabulary onto the plane of two vectors of the first run."""
    trained = trained_vectors(runs[0], base, runs[0].steps[-1]) if runs else None
    if trained is None or trained.space != "embedding":
        raise InputError("the plane of two vectors needs a run with vectors among the embeddings")
    for position in between:
        if position not in trained.positions:
            listed = ", ".join(map(str, trained.positions))
            raise InputError(f"there is no vector {position}; the first run has {listed}")
    rows = [trained.now[trained.positions.index(position)] for position in between]
    return plane_map(base, *rows)


def _task(run: TrainedModel, base: BaseModel, vocab: Vocabulary) -> np.ndarray | None:
    """Compute each token's highest cosine to a label of the task, between 0 and 1, shape (V,)."""
    if run.task is None:
        return None
    labels = task_of(run).labels
    if not labels:
        return None
    ids = [continuation_ids(base.tokenizer, one) for one in labels]
    means = torch.stack([vocab.table[one].mean(dim=0) for one in ids])  # (labels, d)
    cosines = torch.nn.functional.normalize(vocab.table) @ torch.nn.functional.normalize(means).T
    return cosines.max(dim=1).values.clamp(0, 1).cpu().double().numpy()


def _has_vectors(run: TrainedModel) -> bool:
    return NEEDED in registry.exposed(run.config.method, run.config.method_config)


def _is_measured(run: TrainedModel, probe: str) -> bool:
    folder = run.table_folder
    return folder is not None and (folder / f"{probe}.parquet").exists()


def _shift(context: RunContext, run: TrainedModel, name: str) -> LogitShift | None:
    """Measure which tokens a run raises and lowers; None for a model without logits of tokens."""
    rows = measured(probe_runner.run_probe(context, run, "logit_shift").frame)
    if rows.empty:
        return None
    ends = {
        direction: tuple(
            (int(token), float(change))
            for token, change in zip(tokens["token_id"], tokens["change"], strict=True)
        )
        for direction, tokens in rows.groupby("direction")
    }
    text = f"{rows['n_tokens'].iloc[0]:,} tokens of {rows['suite'].iloc[0]}"
    return LogitShift(name, text, ends["raised"], ends["lowered"])


def _trajectory(
    context: RunContext,
    run: TrainedModel,
    name: str,
    projected: VocabularyMap,
    space: np.ndarray | None,
) -> PromptTrajectory | None:
    """Return a run's trajectory; None if the probe does not apply, as to an unchanged table."""
    rows = measured(probe_runner.run_probe(context, run, "soft_prompt_neighbors").frame)
    if rows.empty or (projected.axes is not None and rows["space"].iloc[0] != "embedding"):
        return None
    steps = tuple(int(step) for step in rows["step"].unique())
    metrics = list(rows["metric"].unique())
    first = rows[rows["metric"] == metrics[0]]
    positions = tuple(int(one) for one in first[first["step"] == steps[-1]]["position"])
    verdicts = _verdicts(context, run)
    places, in_space = [], []
    for step in steps:
        trained = trained_vectors(run, context.base_model(run), step)
        if projected.axes is None:
            places.append(place_by_neighbors(trained.now, trained.table, projected.points))
        else:
            places.append(trained.now.double().cpu().numpy() @ projected.axes.T)
        if space is not None:
            in_space.append(place_by_neighbors(trained.now, trained.table, space))
    whole = verdicts.get((steps[-1], None))
    return PromptTrajectory(
        name=name,
        verdict=whole[0] if whole else "",
        steps=steps,
        positions=positions,
        starts=tuple(
            None if pd.isna(one) else str(one)
            for one in first[first["step"] == steps[-1]]["start_token"]
        ),
        xy=np.stack(places),
        space=np.stack(in_space) if in_space else None,
        run_id=run.id,
        displacement=_grid(first, "relative_displacement", steps),
        off_vocabulary=_grid(first, "off_vocabulary", steps),
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
    """Index measured verdicts by step and position, None for the whole prompt; empty if none."""
    if not _is_measured(run, "soft_prompt_null"):
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
    """Arrange a column of numbers by step, shape (steps, positions)."""
    values = [rows[rows["step"] == step][column] for step in steps]
    return np.array([one.astype("Float64").to_numpy(float, na_value=np.nan) for one in values])


def _lists(rows: pd.DataFrame, column: str, steps: Sequence[int]) -> np.ndarray:
    """Arrange a column of lists of k numbers by step, shape (steps, positions, k)."""
    return np.stack([np.stack([*rows[rows["step"] == step][column]]) for step in steps])


def _kinds(vocab: Vocabulary) -> np.ndarray:
    """Classify all tokens by indices into KINDS, shape (V,)."""
    words = (token.removeprefix("␣").removeprefix(vocab.continuation) for token in vocab.tokens)
    pairs = zip(words, vocab.begins_word, strict=True)
    kinds = np.array([_kind(word, begins) for word, begins in pairs], np.uint8)
    kinds[vocab.untrained | vocab.nameless] = KINDS.index("never trained")
    kinds[vocab.special] = KINDS.index("special")
    return kinds


def _kind(word: str, begins_word: bool) -> int:
    """Classify a token by its text, without the space or mark in front of it."""
    if word.isalpha():
        return KINDS.index("begins a word" if begins_word else "continues a word")
    if word.isdigit():
        return KINDS.index("digits")
    partial = word.startswith("<") and word.endswith(">") and len(word) > 2
    return KINDS.index("part of a character" if partial else "punctuation and symbols")

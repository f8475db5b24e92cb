"""Explorer: map of the vocabulary with trained vectors, for notebooks."""

from typing import Literal

from peftlens.api.session import session_context
from peftlens.api.target import Target, open_target
from peftlens.explorer.build import build_explorer, title
from peftlens.explorer.page import Explorer, render


def explore(  # noqa: PLR0913  # one argument per option
    target: Target,
    *,
    projection: Literal["umap", "pca"] = "umap",
    between: tuple[int, int] | None = None,
    logits: bool | None = None,
    directions: bool | None = None,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Explorer:
    """Draw a map of the vocabulary with the trained vectors; a notebook displays it.

    Example:
        ```python
        pl.explore(run)
        pl.explore(study, projection="pca").save("explorer.html")
        ```

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        projection: projection to the plane; a base model's first UMAP takes about a minute.
        between: two vectors of the first run, whose plane is the map instead.
        logits: whether to measure the tokens whose logits each run raises and lowers, ten seconds
            per run; by default for a single run, and in a study where they are measured already.
        directions: whether to draw activation differences and update directions, layer by layer,
            ten seconds per run; by default for a single run.
        base_model: base model of an adapter's folder; by default the one that the adapter names.
        trust_remote_code: whether Python code from a base model's folder may run.

    Raises:
        InputError: there is no run, the runs have different base models, or there is nothing to
            show.
    """
    results = open_target(target, base_model, trust_remote_code=trust_remote_code)
    single = len(results.runs) == 1
    data = build_explorer(
        session_context(trust_remote_code=trust_remote_code),
        results.runs,
        results.index["names"],
        projection,
        between=between,
        logits=single if logits is None else logits,
        directions=single if directions is None else directions,
    )
    heading = title(results.name, results.runs, results.index["names"])
    return Explorer(render(data, heading))

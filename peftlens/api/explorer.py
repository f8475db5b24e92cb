"""Open the explorer from Python."""

from typing import Literal

from peftlens.api.session import session_context
from peftlens.api.target import Target, open_target
from peftlens.explorer.build import build_explorer
from peftlens.explorer.page import Explorer, render


def explore(  # noqa: PLR0913  # an option each
    target: Target,
    *,
    projection: Literal["umap", "pca"] = "umap",
    between: tuple[int, int] | None = None,
    logits: bool | None = None,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Explorer:
    """Draw a map of the vocabulary with the trained vectors on it; a notebook shows it.

    Example:
        ```python
        pl.explore(run)
        pl.explore(study, projection="pca").save("explorer.html")
        ```

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        projection: how the map is drawn; a base model's first UMAP takes about a minute.
        between: two vectors of the first run: the map is the plane that holds both.
        logits: measure which tokens each run raises and lowers, ten seconds per run; by default for
            a single run, and in a study where it has been measured already.
        base_model: base model of an adapter's folder; the one that it names by default.
        trust_remote_code: run Python that a base model's folder brings along.

    Raises:
        InputError: there is no run, the runs have different bases, or there is nothing to show.
    """
    found = open_target(target, base_model, trust_remote_code=trust_remote_code)
    wanted = len(found.runs) == 1 if logits is None else logits
    data = build_explorer(
        session_context(trust_remote_code=trust_remote_code),
        found.runs,
        found.index["names"],
        projection,
        between=between,
        logits=wanted,
    )
    return Explorer(render(data, found.name))

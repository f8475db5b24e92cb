"""Command for the map of the vocabulary: explore."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from peftlens.cli import targets
from peftlens.cli.output import Open, open_in_browser

if TYPE_CHECKING:
    from peftlens.explorer.data import ExplorerData
    from peftlens.explorer.server import LiveIndex


def explore(  # noqa: PLR0913  # one argument per flag
    target: Annotated[Path, typer.Argument(help=targets.HELP)],
    base: targets.Base = None,
    projection: Annotated[
        Literal["umap", "pca"], typer.Option(help="Projection of the map.")
    ] = "umap",
    between: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Two vectors of the first run, whose plane becomes the map."),
    ] = None,
    logits: Annotated[
        bool | None,
        typer.Option(
            help="Measure which tokens each run makes more or less likely, ten seconds per run; by "
            "default for a single run, and in a study if it was measured before."
        ),
    ] = None,
    directions: Annotated[
        bool | None,
        typer.Option(
            help="Draw what each run adds to the model's states, and what its updates write and "
            "read, layer by layer, ten seconds per run; by default for a single run."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Path of the page; explorer.html in a study's folder by default, or here."
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Instead of writing a page, show it from a local server until Ctrl-C, which also "
            "finds the neighbors of any text, token, vector or sum of these, after any block.",
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --serve; 0 for any free port.")
    ] = 8050,
    show: Open = False,
    trust_remote_code: targets.Trust = False,
) -> None:
    """Draw a map of the vocabulary with the trained vectors, as one HTML file without network use.

    The first map of a base model takes a minute in the plane and another in space for 49,152 tokens
    on two cores, its clusters and the neighbors of all tokens a few more; all are cached.
    """
    from peftlens.adapters.run_context import RunContext
    from peftlens.explorer import page as explorer
    from peftlens.explorer import server
    from peftlens.explorer.build import build_explorer, title
    from peftlens.io.html import require_place

    page = out or (target if (target / "study.json").exists() else Path()) / "explorer.html"
    if not serve:
        require_place(page)
    results = targets.open_target(target, base, trust_remote_code=trust_remote_code)
    single = len(results.runs) == 1
    context = RunContext(trust_remote_code=trust_remote_code)
    content = build_explorer(
        context,
        results.runs,
        results.index["names"],
        projection,
        between=between,
        logits=single if logits is None else logits,
        directions=single if directions is None else directions,
        neighbors=not serve,
    )
    heading = title(results.name, results.runs, results.index["names"])
    if serve:
        _serve(server.live_index(context, results.runs), content, heading, port, show)
        return
    print(explorer.write(content, heading, page))
    if show:
        open_in_browser(page)


def _serve(
    index: "LiveIndex", content: "ExplorerData", heading: str, port: int, show: bool
) -> None:
    from peftlens.explorer import server

    def announce(url: str) -> None:
        print(f"{url}\nCtrl-C stops it", flush=True)
        if show:
            typer.launch(url)

    server.serve(server.live_page(content, heading, index), index, port, announce)

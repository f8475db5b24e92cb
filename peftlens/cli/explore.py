"""The command that opens a map of the vocabulary."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from peftlens.cli import targets
from peftlens.cli.output import Open, open_in_browser
from peftlens.errors import InputError


def explore(  # noqa: PLR0913  # a flag each
    target: Annotated[Path, typer.Argument(help=targets.HELP)],
    base: targets.Base = None,
    projection: Annotated[
        Literal["umap", "pca"], typer.Option(help="How the map is drawn.")
    ] = "umap",
    between: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Two vectors of the first run: the map is the plane that holds both."),
    ] = None,
    logits: Annotated[
        bool | None,
        typer.Option(
            help="Measure which tokens each run raises and lowers, ten seconds a run; by default "
            "for a single run, and in a study where it is known already."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; explorer.html in a study's folder by default, or here."),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Instead of a page, answer on this machine: neighbors of any text, token or sum "
            "of them, until Ctrl-C. It needs the extra `app`.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0: a free one.")] = 8050,
    show: Open = False,
    trust_remote_code: targets.Trust = False,
) -> None:
    """Draw a map of the vocabulary with the trained vectors on it: one HTML file, no network.

    A base's first map takes a minute for 49,152 tokens on two cores, its clusters one more;
    both are kept.
    """
    if serve:
        _serve(target, base, port, trust_remote_code)
        return
    page = out or (target if (target / "study.json").exists() else Path()) / "explorer.html"
    from peftlens.adapters.run_context import RunContext
    from peftlens.explorer import page as explorer
    from peftlens.explorer.build import build_explorer
    from peftlens.io.html import require_place

    require_place(page)
    found = targets.open_target(target, base, trust_remote_code=trust_remote_code)
    names = found.index["names"]
    wanted = len(found.runs) == 1 if logits is None else logits
    context = RunContext(trust_remote_code=trust_remote_code)
    drawn = build_explorer(context, found.runs, names, projection, between=between, logits=wanted)
    print(explorer.write(drawn, found.name, page))
    if show:
        open_in_browser(page)


def _serve(target: Path, base: str | None, port: int, trust: bool) -> None:
    from peftlens.adapters.run_context import RunContext

    try:
        from peftlens.explorer import server
    except ModuleNotFoundError as error:
        if error.name not in ("dash", "flask", "werkzeug"):
            raise
        raise InputError("--serve needs the extra `app`: pip install 'peftlens[app]'") from error
    found = targets.open_target(target, base, trust_remote_code=trust)
    server.serve(
        RunContext(trust_remote_code=trust),
        found.runs,
        found.index["names"],
        port,
        lambda url: print(f"{url}\nCtrl-C stops it", flush=True),
    )

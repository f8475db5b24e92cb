"""The command that opens a map of the vocabulary."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from peftlens.errors import BadInput


def explore(  # noqa: PLR0913  # a flag each
    target: Annotated[
        Path, typer.Argument(help="Folder of a study, of a run, of runs, or of peft's adapter.")
    ],
    base: Annotated[
        str | None, typer.Option(help="Base model of an adapter; the one that it names by default.")
    ] = None,
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
            help="Instead of a page, answer on this machine: neighbours of any text, token or sum "
            "of them, until Ctrl-C. It needs the extra `app`.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve; 0: a free one.")] = 8050,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Draw a map of the vocabulary with the trained vectors on it: one HTML file, no network.

    A base's first map takes two minutes for 49,152 tokens on two cores, its clusters one more;
    both are kept.
    """
    if serve:
        _serve(target, base, port)
        return
    page = out or (target if (target / "study.json").exists() else Path()) / "explorer.html"
    if not page.parent.is_dir():
        raise BadInput(f"{page.parent} is no folder; create it, or give another --out")
    from peftlens import explorer
    from peftlens.exploring import atlas

    runs, names, title = _runs(target, base)
    wanted = len(runs) == 1 if logits is None else logits
    drawn = atlas(runs, names, projection, between=between, logits=wanted)
    print(explorer.write(drawn, title, page))
    if show and typer.launch(page.resolve().as_uri()):
        raise BadInput(f"no browser could be started here; open {page} yourself")


def _serve(target: Path, base: str | None, port: int) -> None:
    try:
        from peftlens import app
    except ModuleNotFoundError as error:
        if error.name not in ("dash", "flask", "werkzeug"):
            raise
        raise BadInput("--serve needs the extra `app`: pip install 'peftlens[app]'") from error
    runs, names, _ = _runs(target, base)
    app.serve(runs, names, port, lambda url: print(f"{url}\nCtrl-C stops it", flush=True))


def _runs(target: Path, base: str | None) -> tuple[list[Any], dict[str, str], str]:
    """Runs, their names by id, and the page's title."""
    from peftlens.run import Run, runs_in

    if (target / "study.json").exists():
        from peftlens import results

        one = results.read(target)
        for reason in one.damaged.values():
            print(f"Left out: {reason}", file=sys.stderr)
        return list(one.runs), one.index["names"], one.name
    if (target / "adapter_config.json").exists():
        from peftlens.models.foreign import Adapter

        runs: list[Any] = [Adapter(target, base)]
    elif (target / "run.json").exists():
        runs = [Run(target)]
    else:
        runs = list(runs_in(target))
    if not runs:
        raise BadInput(f"{target} holds no finished run; train one with `peftlens train`")
    names = {run.id: f"{run.record.configuration} seed={run.config.seed}" for run in runs}
    return runs, names, target.resolve().name

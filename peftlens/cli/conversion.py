"""Commands that make plain LoRAs of trained weights: convert, combine."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from peftlens.cli import targets
from peftlens.cli.options import pairs
from peftlens.cli.output import Json, print_frame, print_json
from peftlens.cli.targets import Trust
from peftlens.numerics.counts import counted

_LISTED = 5  # lost weights that are printed


def convert(  # noqa: PLR0913  # one argument per flag
    target: Annotated[
        str, typer.Argument(help="Folder of a run, an adapter or a fine-tuned model, or a hub id.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new adapter; must not exist.")],
    to: Annotated[  # noqa: ARG001  # there is one so far
        Literal["lora"], typer.Option(help="Type of the new adapter.")
    ] = "lora",
    rank: Annotated[int | None, typer.Option(help="Budget: rank of every module.")] = None,
    energy: Annotated[
        float | None, typer.Option(help="Budget: share of each module's ‖ΔW‖² to keep.")
    ] = None,
    kl: Annotated[
        float | None,
        typer.Option(
            help="Budget: largest KL from the original, nats per token, on general text and the "
            "task; the least energy is found by bisection."
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="Give the parameters of --rank to the strongest singular values of all modules.",
        ),
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base model of an adapter, by default the one that it names; needed for a model."
        ),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="File of general text, one a line, to compare the models.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task to score; by default the run's own.")
    ] = None,
    task_option: Annotated[
        list[str] | None, typer.Option("--task-set", help="Option of the task, KEY=VALUE.")
    ] = None,
    items: Annotated[
        int, typer.Option(help="Largest number of test examples of the task; 0 for all.")
    ] = 300,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Convert any change of weights into a plain LoRA, and measure what that costs.

    Every method with an update of weights, and a model that was fine-tuned whole, becomes an
    adapter that plain peft loads: each module's update, truncated by its singular values. What no
    LoRA can carry, such as biases and norms, is named. Energy alone misleads, so the new model is
    compared with the original: KL, accuracy, and forgetting as the rise of the loss on general
    text.
    """
    from peftlens.adapters.conversion import Budget
    from peftlens.inspection.behavior import Measured
    from peftlens.inspection.convert import convert as convert_target

    found = convert_target(
        target,
        out,
        Budget(rank=rank, energy=energy, kl=kl, adaptive=adaptive),
        Measured(text=text and str(text), task=task, task_options=pairs(task_option), items=items),
        base_model=base,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json(_to_json(found))
    else:
        _print_conversion(found)


def _records(frame: Any) -> list[dict[str, Any]]:
    import json

    return json.loads(frame.to_json(orient="records"))


def _to_json(found: Any) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "parameters": found.parameters,
        "energy": found.energy,
        "models": _records(found.models),
        "weights": _records(found.weights),
        "lost": _records(found.lost),
    }


def _ranks(ranks: Any) -> str:
    low, high = ranks.min(), ranks.max()
    return f"rank {low}" if low == high else f"ranks {low} to {high}"


def _print_conversion(found: Any) -> None:
    from peftlens.io.escaping import visible

    ranks = found.weights["rank"]
    print(
        f"{found.folder}: {_ranks(ranks)} for {counted(len(ranks), 'weight')}, "
        f"{found.parameters:,} parameters; {found.energy:.2%} of all changes' squared norm kept"
    )
    print_frame(found.models)
    lost = found.lost.sort_values("norm", ascending=False)
    if len(lost):
        share = f"{lost['share'].sum():.2%} of the squared norm"
        print(f"Lost: {counted(len(lost), 'tensor')} with {share}:")
        for row in lost.head(_LISTED).itertuples():
            print(visible(f"  {row.weight}: {row.share:.2g} of it, because {row.why}"))


def combine(  # noqa: PLR0913  # one argument per flag
    adapters: Annotated[
        list[str], typer.Argument(help="Two or more runs or adapters of one base model.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new adapter; must not exist.")],
    how: Annotated[
        Literal["linear", "ties", "dare", "svd", "cat"], typer.Option(help="See above.")
    ] = "cat",
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Weight of an adapter, once for each, in their order; by default 1."),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(help="Share of entries that ties and dare keep; by default 0.2 and 0.5."),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            help="Rank of every module for ties, dare and svd; by default the adapters' together."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed by which dare drops entries.")] = 0,
    items: Annotated[
        int, typer.Option(help="Largest number of test examples of each task; 0 for all.")
    ] = 300,
    base: targets.Base = None,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Combine adapters into one plain LoRA, and score it on the task of each that is a run.

    cat: the exact weighted sum of the updates, of the rank of all together. svd: this sum,
    truncated to --rank. ties: the largest entries of each update, averaged where their signs agree
    with the majority. dare: entries dropped at random, the others rescaled, summed. linear: the sum
    of the factors A and of B, as peft has it, for LoRAs of one rank. That is NOT the sum of the
    updates: it adds the products of one adapter's B with another's A, which nobody trained.
    """
    from peftlens.adapters.combination import Recipe
    from peftlens.inspection.combine import combine as combine_adapters

    found = combine_adapters(
        adapters,
        out,
        Recipe(how=how, weights=tuple(weight or ()), density=density, rank=rank, seed=seed),
        items=items,
        base_model=base,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        frames = {"tasks": found.tasks, "modules": found.modules, "lost": found.lost}
        about = {"folder": str(found.folder), "parameters": found.parameters}
        tables = {name: _records(frame) for name, frame in frames.items()}
        print_json(about | {"energy": found.energy} | tables)
    else:
        _print_combination(found)


def _print_combination(found: Any) -> None:
    from peftlens.io.escaping import visible

    ranks = found.modules["rank"]
    print(
        f"{found.folder}: {_ranks(ranks)} for {counted(len(ranks), 'module')}, "
        f"{found.parameters:,} parameters; "
        f"{found.energy:.2%} of the combination's squared norm kept"
    )
    if len(found.tasks):
        print_frame(found.tasks)
        print("kept: share of the trained adapter's gain in loss over the base's.")
    else:
        print("No adapter is a run with a task of its own, so nothing was scored.")
    for adapter, rows in found.lost.groupby("adapter"):
        names = ", ".join(rows["weight"].head(_LISTED))
        print(visible(f"Lost of {adapter}: {counted(len(rows), 'tensor')}, such as {names}"))

"""Commands for adapters: inspect, compare, resize, push."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peftlens.cli.output import Json, print_frame, print_json, print_table
from peftlens.cli.targets import Trust
from peftlens.numerics.counts import counted

Base = Annotated[
    str | None, typer.Option(help="Base model of the adapter, loaded for further measurements.")
]
SHOWN = ("rank", "norm", "stable_rank", "effective_rank", "k95")


def inspect(  # noqa: PLR0913  # one argument per flag
    target: Annotated[str, typer.Argument(help="Folder of an adapter or run, or a hub id.")],
    base: Base = None,
    program: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Program that is to serve it: vllm, sglang, llama.cpp or transformers. Of the "
            "base only config.json is read.",
        ),
    ] = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write all results to this HTML page.")] = None,
    training_text: Annotated[
        Path | None,
        typer.Option(
            help="File with text of its training, one a line, whose words are looked for."
        ),
    ] = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival", help="Measure what merging in 16, 8 and 4 bits leaves of the update."
        ),
    ] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Inspect an adapter: whether it is complete and trained, its rank, its effect, its trace.

    The adapter's two files are sufficient. With --base the model is loaded with the adapter, and
    its update, its nearest neighbors, its forgetting and what it learned are measured, which takes
    two minutes for 135M parameters; with --survival four. With --for it is judged whether a
    server would apply it. Exits with 1 if the adapter is broken, or erased by merging.
    """
    from peftlens.inspection.inspect import inspect as inspect_adapter

    inspection = inspect_adapter(
        target,
        base,
        training_text=str(training_text or ""),
        program=program,
        survival=survival,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json(_to_json(inspection))
    else:
        _print_inspection(inspection)
    if html:
        from peftlens.reports.page import write_inspection

        print(write_inspection(inspection.results, inspection.about, inspection.findings, html))
    if inspection.broken:
        raise typer.Exit(1)


def _to_json(inspection: Any) -> dict[str, Any]:
    import json
    from dataclasses import asdict

    from peftlens.reports.learned import learned

    return {
        "folder": str(inspection.folder),
        "broken": inspection.broken,
        "about": dict(inspection.about),
        "findings": [asdict(one) for one in inspection.findings],
        "tables": {
            name: json.loads(one.frame.to_json(orient="records"))
            for name, one in inspection.tables.items()
        },
        "trace": [asdict(one.verdict) for one in learned(inspection.tables, seeds=False)],
        "not_applicable": inspection.not_applicable,
    }


def _print_inspection(inspection: Any) -> None:
    from peftlens.io.escaping import visible
    from peftlens.reports.learned import learned
    from peftlens.reports.learned_text import lines

    for name, value in inspection.about:
        print(f"{name}: {visible(value)}")
    rows = [[one.severity, visible(one.text)] for one in inspection.findings]
    print_table(["", "finding"], rows)
    if "adapter_weights" in inspection.tables:
        frame = inspection.tables["adapter_weights"].frame.dropna(subset=["norm"])
        if len(frame):
            by_role = frame.groupby("role", sort=False)
            medians = by_role[list(SHOWN)].median(numeric_only=True)
            shown = medians.assign(weights=by_role.size()).reset_index()
            print("Medians over the weights of each role:")
            print_frame(shown[["role", "weights", *SHOWN]].astype(dict.fromkeys(SHOWN, float)))
    for one in learned(inspection.tables, seeds=False):
        print("\n".join(["", *lines(one), ""]))
    for name, reason in inspection.not_applicable.items():
        print(f"{name} does not apply: {visible(reason)}")


def compare(  # noqa: PLR0913  # one argument per flag
    adapters: Annotated[list[str], typer.Argument(help="Two or more adapters of one base model.")],
    base: Annotated[
        str | None,
        typer.Option(help="Base model of the adapters; needed for types with incomplete files."),
    ] = None,
    directions: Annotated[
        int, typer.Option(min=1, help="Number of compared strongest directions per adapter.")
    ] = 8,
    csv: Annotated[Path | None, typer.Option(help="Write a row per weight to this file.")] = None,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Compare adapters: overlap of their updates, and interference if they were added.

    The overlap of random directions is included for reference; angles are in degrees.
    """
    from peftlens.adapters.comparison import compare as compare_adapters
    from peftlens.adapters.external import ExternalAdapter
    from peftlens.adapters.run_context import RunContext
    from peftlens.inspection.inspect import located
    from peftlens.io.escaping import to_csv
    from peftlens.io.html import write

    folders = [located(adapter) for adapter in adapters]
    externals = [ExternalAdapter(folder, base, trust_remote_code) for folder in folders]
    bases = dict.fromkeys(
        str(adapter.file.config.get("base_model_name_or_path")) for adapter in externals
    )
    if len(bases) > 1:
        print(f"The adapters name different base models: {', '.join(bases)}", file=sys.stderr)
    context = None if base is None else RunContext(trust_remote_code=trust_remote_code)
    frame = compare_adapters(externals, directions, context=context).frame
    if csv:
        write(to_csv(frame), csv)
    if as_json:
        print(frame.to_json(orient="records"))
        return
    _print_comparison(frame)


def _print_comparison(frame: Any) -> None:
    """Print medians over the weights of each role, and what has no numbers."""
    from peftlens.io.escaping import visible

    roles = frame["weight"].str.removesuffix(".weight").str.split(".").str[-1]
    both = frame[(frame["in"] == "both") & frame["note"].isna()].drop(columns="note")
    both = both.dropna(axis="columns", how="all")
    if len(both):
        keys = [both["adapter"], both["other"], roles[both.index].rename("role")]
        by_role = both.drop(columns=["adapter", "other", "weight", "in"]).groupby(keys, sort=False)
        medians = by_role.median(numeric_only=True).assign(weights=by_role.size())
        print("Medians over the weights of each role:")
        print_frame(medians.reset_index())
    alone = frame[frame["in"] != "both"]
    for (one, other, name), rows in alone.groupby(["adapter", "other", "in"], sort=False):
        print(visible(f"{one} and {other}: {counted(len(rows), 'weight')} changed by {name} alone"))
    noted = frame[(frame["in"] == "both") & frame["note"].notna()]
    for (one, other, note), rows in noted.groupby(["adapter", "other", "note"], sort=False):
        names = ", ".join(rows["weight"].head(3)) + (", ..." if len(rows) > 3 else "")
        where = f"not measured in {counted(len(rows), 'tensor')}"
        print(visible(f"{one} and {other}, {where}: {note}: {names}"))


def resize(
    adapter: Annotated[str, typer.Argument(help="Folder of a LoRA or its run, or a hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the new adapter; must not exist.")],
    rank: Annotated[int | None, typer.Option(help="Highest rank of all weights.")] = None,
    energy: Annotated[
        float | None,
        typer.Option(help="Instead of a rank: share of each update's energy to keep."),
    ] = None,
    trust_remote_code: Trust = False,
) -> None:
    """Reduce a LoRA's rank by truncating its update, as an adapter folder that peft can load.

    The energy kept is reported as a share of ‖ΔW‖²; its effect on a task needs scoring.
    """
    from peftlens.adapters.truncation import truncate
    from peftlens.inspection.inspect import located

    weights = truncate(
        located(adapter), out, rank=rank, energy=energy, trust_remote_code=trust_remote_code
    )
    ranks = sorted({one.kept for one in weights})
    rank_text = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    worst = min(weights, key=lambda one: one.energy)
    mean = sum(one.energy for one in weights) / len(weights)
    print(
        f"{out}: {rank_text} for {counted(len(weights), 'weight')}; "
        f"{mean:.1%} of ‖ΔW‖² kept on average, {worst.energy:.1%} at least, in {worst.weight}"
    )


def push(  # noqa: PLR0913  # one argument per flag
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    repository: Annotated[str, typer.Argument(help="org/name; created when missing.")],
    base: Annotated[
        str | None, typer.Option(help="Name of the base model on the hub, for a local base.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; created when missing.")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files, and send nothing.")
    ] = False,
) -> None:
    """Upload a run's adapter, model card and results to the Hugging Face hub.

    The token is that of HF_TOKEN or of `hf auth login`. Only adapters that plain peft can load are
    uploaded.
    """
    from peftlens.adapters.push import push as push_run
    from peftlens.runs.run import Run

    files, address = push_run(
        Run(run), repository, base_model=base, private=private, revision=revision, message=message,
        dry_run=dry_run,
    )  # fmt: skip
    print("\n".join(files))
    print(address or f"Nothing was sent; these files would be in {repository}")

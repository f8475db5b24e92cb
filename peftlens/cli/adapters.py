"""Commands that look at adapters: inspect, compare, resize."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from peftlens.cli.output import Json, print_frame, print_json, print_table
from peftlens.cli.targets import Trust

Base = Annotated[str | None, typer.Option(help="Its base model, loaded to say more.")]
SHOWN = ("rank", "norm", "stable_rank", "effective_rank", "k95")


def inspect(
    target: Annotated[str, typer.Argument(help="Folder of an adapter or run, or a hub id.")],
    base: Base = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write all of it as a page.")] = None,
    trust_remote_code: Trust = False,
) -> None:
    """Look at an adapter: is it whole, was it trained, which rank would do, what does it do.

    Its two files are enough. With --base the model is loaded, the adapter is put on, and its
    update, its neighbors and what the model forgot are measured: a minute or two for 135M
    parameters. Exits with 1 if the adapter is broken.
    """
    from peftlens.inspection.inspect import inspect as look

    found = look(target, base, trust_remote_code=trust_remote_code)
    if as_json:
        print_json(_plain(found))
    else:
        _print(found)
    if html:
        from peftlens.reports.page import write_inspection

        print(write_inspection(found.results, found.about, found.findings, html))
    if found.broken:
        raise typer.Exit(1)


def _plain(found: Any) -> dict[str, Any]:
    import json
    from dataclasses import asdict

    return {
        "folder": str(found.folder),
        "broken": found.broken,
        "about": dict(found.about),
        "findings": [asdict(one) for one in found.findings],
        "tables": {
            name: json.loads(one.frame.to_json(orient="records"))
            for name, one in found.tables.items()
        },
        "not_applicable": found.not_applicable,
    }


def _print(found: Any) -> None:
    from peftlens.io.escaping import visible

    for name, value in found.about:
        print(f"{name}: {visible(value)}")
    rows = [[one.severity, visible(one.text)] for one in found.findings]
    print_table(["", "finding"], rows)
    if "adapter_weights" in found.tables:
        frame = found.tables["adapter_weights"].frame.dropna(subset=["norm"])
        if len(frame):
            by_role = frame.groupby("role", sort=False)
            medians = by_role[list(SHOWN)].median(numeric_only=True)
            shown = medians.assign(weights=by_role.size()).reset_index()
            print("Medians over the weights of each kind:")
            print_frame(shown[["role", "weights", *SHOWN]].astype(dict.fromkeys(SHOWN, float)))
    for name, reason in found.not_applicable.items():
        print(f"{name} does not apply: {visible(reason)}")


def compare(  # noqa: PLR0913  # a flag each
    adapters: Annotated[list[str], typer.Argument(help="Two adapters or more of one base.")],
    base: Annotated[
        str | None,
        typer.Option(help="Their base model; needed for types whose files do not say enough."),
    ] = None,
    directions: Annotated[
        int, typer.Option(min=1, help="Strongest directions of each that are compared.")
    ] = 8,
    csv: Annotated[Path | None, typer.Option(help="Write a row for each weight here.")] = None,
    as_json: Json = False,
    trust_remote_code: Trust = False,
) -> None:
    """Compare adapters: what they have in common, and what would be lost if they were added.

    Overlap is to be read beside that of random directions, angles in degrees.
    """
    from peftlens.adapters.comparison import compare as side_by_side
    from peftlens.adapters.external import ExternalAdapter
    from peftlens.inspection.inspect import located
    from peftlens.io.escaping import to_csv
    from peftlens.io.html import write
    from peftlens.models.base_model import load_base_model

    folders = [located(one) for one in adapters]
    given = [ExternalAdapter(one, base, trust_remote_code) for one in folders]
    named = dict.fromkeys(str(one.file.config.get("base_model_name_or_path")) for one in given)
    if len(named) > 1:
        print(f"By their own accounts of different bases: {', '.join(named)}", file=sys.stderr)
    loaded = None if base is None else load_base_model(base, trust_remote_code=trust_remote_code)
    frame = side_by_side(given, directions, base_model=loaded).frame
    if csv:
        write(to_csv(frame), csv)
    if as_json:
        print(frame.to_json(orient="records"))
        return
    _print_comparison(frame)


def _print_comparison(frame: Any) -> None:
    """The medians over the weights of each kind, and what only one of two has."""
    roles = frame["weight"].str.removesuffix(".weight").str.split(".").str[-1]
    both = frame[frame["in"] == "both"].dropna(axis="columns", how="all")
    if len(both):
        keys = [both["adapter"], both["other"], roles[both.index].rename("role")]
        by_role = both.drop(columns=["adapter", "other", "weight", "in"]).groupby(keys, sort=False)
        medians = by_role.median(numeric_only=True).assign(weights=by_role.size())
        print("Medians over the weights of each kind:")
        print_frame(medians.reset_index())
    alone = frame[frame["in"] != "both"]
    for (one, other, name), rows in alone.groupby(["adapter", "other", "in"], sort=False):
        print(f"{one} and {other}: {len(rows)} weights are changed by {name} alone")


def resize(
    adapter: Annotated[str, typer.Argument(help="Folder of a LoRA or its run, or a hub id.")],
    out: Annotated[Path, typer.Option(help="The new adapter's folder; must not exist.")],
    rank: Annotated[int | None, typer.Option(help="Of every weight that has a higher one.")] = None,
    energy: Annotated[
        float | None,
        typer.Option(help="Instead, the lowest rank that keeps this share of each update."),
    ] = None,
    trust_remote_code: Trust = False,
) -> None:
    """Lower a LoRA's rank by truncating its update: a plain adapter's folder that peft loads.

    What is kept is told as a share of ‖ΔW‖²; what that means for a task, only scores can tell.
    """
    from peftlens.adapters.truncation import truncate as truncate
    from peftlens.inspection.inspect import located

    found = truncate(
        located(adapter), out, rank=rank, energy=energy, trust_remote_code=trust_remote_code
    )
    ranks = sorted({one.kept for one in found})
    told = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    worst = min(found, key=lambda one: one.energy)
    mean = sum(one.energy for one in found) / len(found)
    print(
        f"{out}: {told} for {len(found)} weights; {mean:.1%} of ‖ΔW‖² kept in the mean, "
        f"{worst.energy:.1%} at the least, in {worst.weight}"
    )

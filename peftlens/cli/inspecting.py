"""Commands that look at adapters: inspect, compare, resize."""

from pathlib import Path
from typing import Annotated, Any

import typer

from peftlens.cli.printing import print_frame, print_json, print_table

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let configurations name Python code to import."),
]
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
    update, its neighbours and what the model forgot are measured: a minute or two for 135M
    parameters. Exits with 1 if the adapter is broken.
    """
    from peftlens.inspecting import inspect as look

    found = look(target, base, trust_remote_code=trust_remote_code)
    if as_json:
        print_json(_plain(found))
    else:
        _print(found)
    if html:
        from peftlens.report import write_inspection

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
    from peftlens.literal import visible

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

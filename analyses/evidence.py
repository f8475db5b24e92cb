"""Verdicts on every claim, judged by the committed tables in reports/.

reports/NAME/tables/STUDY holds the tables of one study of the analysis NAME, and a claim has a
verdict for each of them. Claims about several tasks are judged by the studies of a model together:
prompts, traces and directions are compared between tasks.
"""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from peftlens import registry
from peftlens.claims import ONE_SIDED, judge
from peftlens.io import escaping
from peftlens.results.sequential import RACED_RATES, last_verdicts

REPORTS = Path(__file__).parent.parent / "reports"
# Analyses whose claims are about several tasks.
ACROSS_TASKS = {"soft_prompts", "lens"}
# Studies that are shown only, as their runs are not what the claims are about: anchored prompts.
SHOWN_ONLY = {"waywardness"}
COLUMNS = (
    "claim", "text", "analysis", "model", "task", "outcome", "sentence", "seeds", "items", "runs",
    "hours", "fixed_runs", "date",
)  # fmt: skip
Tables = dict[str, pd.DataFrame]


def analyses() -> dict[str, list[str]]:
    """Map each analysis to the claims that it is designed to judge."""
    found = defaultdict(list)
    for name in registry.names("claims"):
        found[registry.describe("claims", name).constants["ANALYSIS"]].append(name)
    return dict(found)


def judged() -> pd.DataFrame:
    """Judge all claims by the committed tables: a row for each claim and study, in their order."""
    rows = [
        row
        for name, claims in analyses().items()
        for studies in _groups(name)
        for row in _verdicts(name, claims, studies)
    ]
    order = {name: place for place, name in enumerate(registry.names("claims"))}
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values(
        ["claim", "model", "task"], key=lambda one: one.map(order) if one.name == "claim" else one
    ).reset_index(drop=True)


def read(folder: Path) -> Tables:
    """Read the tables of a study."""
    tables = {}
    for file in sorted(folder.glob("*.csv*")):
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        tables[file.name.partition(".")[0]] = escaping.from_csv(text)
    return tables


def _groups(name: str) -> Iterator[list[Tables]]:
    """Yield the studies that are judged together."""
    folders = sorted(one for one in (REPORTS / name / "tables").glob("*/") if one.is_dir())
    studies = [read(one) for one in folders if one.name not in SHOWN_ONLY]
    if name not in ACROSS_TASKS:
        yield from ([one] for one in studies)
        return
    models = defaultdict(list)
    for one in studies:
        models[_about(one)["model"]].append(one)
    yield from models.values()


def _about(tables: Tables) -> dict[str, object]:
    (row,) = tables["about"].to_dict("records")
    return {str(key): value for key, value in row.items()}


def _verdicts(name: str, claims: list[str], studies: list[Tables]) -> Iterator[tuple]:
    about = [_about(one) for one in studies]
    tasks = ", ".join(dict.fromkeys(str(one["task"]) for one in about))
    date = max(str(one["date"]) for one in about)
    frames = _together(studies, about)
    looks = frames.get("looks")
    for claim in claims:
        level, decided = ONE_SIDED, None
        if looks is not None:
            asked = looks[looks["claim"] == claim]
            decided = None if asked.empty else last_verdicts(asked).iloc[0]
            level = looks["level"].iloc[-1] if decided is None else decided["level"]
        (verdict,) = judge(frames, level, [claim])
        outcome, sentence = verdict.outcome, verdict.sentence
        took = sum(one["runs"] for one in about), sum(one["hours"] for one in about), None
        if decided is not None:
            # what a claim's last look found stays, even if later rounds were for another claim
            outcome, sentence = decided["outcome"], decided["sentence"]
            race = about[0]
            took = (
                race["race_runs"] + decided["n_runs"],
                race["race_hours"] + decided["hours"],
                race["fixed_runs"],
            )
        if outcome == "not measured" and decided is None:
            continue
        sizes = [(one.n_seeds, one.n_items or 0) for one in verdict.comparisons]
        seeds, items = max(sizes, default=(None, None))
        if decided is not None:
            seeds = decided["n_seeds"]
        about_claim = claim, verdict.text, name, about[0]["model"], tasks
        yield *about_claim, outcome, sentence, seeds, items, *took, date


def _together(studies: list[Tables], about: list[dict[str, object]]) -> Tables:
    """Combine the tables of studies; the rates of a race are read by the claims."""
    parts = defaultdict(list)
    for one, row in zip(studies, about, strict=True):
        for name, frame in one.items():
            parts[name].append(frame.assign(study=row["study"]) if len(studies) > 1 else frame)
    frames = {name: pd.concat(frames) for name, frames in parts.items()}
    if "rates" in frames:
        frames[RACED_RATES] = frames["rates"]
    return frames

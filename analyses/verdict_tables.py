"""Verdicts in reports/README.md: a table of what to do, and the numbers claim by claim."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from evidence import REPORTS

from peftlens import registry
from peftlens.results.sequential import DECIDED

# what to do by these verdicts, with their figures; of other claims what they say in general
ADVICE = tomllib.loads(
    Path(__file__).with_name("notes").joinpath("practice.toml").read_text("utf-8")
)
MARKS = {
    "practice": ("<!-- practice -->\n", "<!-- /practice -->\n"),
    "verdicts": ("<!-- verdicts -->\n", "<!-- /verdicts -->\n"),
}


def write_tables(verdicts: pd.DataFrame, page: Path) -> None:
    """Replace the table and the numbers of a page."""
    text = page.read_text(encoding="utf-8")
    for name, table in (("practice", practice(verdicts)), ("verdicts", numbers(verdicts))):
        before, _, rest = text.partition(MARKS[name][0])
        text = f"{before}{MARKS[name][0]}{table}{MARKS[name][1]}{rest.partition(MARKS[name][1])[2]}"
    page.write_text(text, encoding="utf-8")


def practice(verdicts: pd.DataFrame) -> str:
    """Format a row for each measured claim: its verdicts per model, and what to do."""
    found = verdicts[verdicts["outcome"] != "not measured"]
    models = sorted(found["model"].unique())
    lines = [
        _line("claim, and what was tested", *models, "in practice"),
        "|---" * (len(models) + 2) + "|",
    ]
    claims = registry.names("claims")
    for claim in (one for one in claims if one in {*found["claim"]}):
        rows = found[found["claim"] == claim]
        constants = registry.describe("claims", claim).constants
        cells = [_cell(rows[rows["model"] == model]) for model in models]
        asked = f"[{constants['CLAIM']}](#{claim}) Holds if {constants['CRITERION']}."
        lines.append(
            _line(asked, *cells, _own(claim, rows) or _advice(rows, constants["PRACTICE"]))
        )
    rest = [one for one in claims if one not in {*found["claim"]}]
    names = ", ".join(f"[{one}](../docs/claims.md#{one})" for one in rest)
    decided = found[found["outcome"].isin(DECIDED)]["claim"].nunique()
    lines += ["", f"{decided} of {len(claims)} claims are decided on at least one model and task."]
    lines += [f"Not measured: {names}."] if rest else []
    return "\n".join(lines) + "\n"


def _cell(rows: pd.DataFrame) -> str:
    """Name the verdicts on one model with their tasks, the decided ones first."""
    tasks = {
        outcome: ", ".join(rows.loc[rows["outcome"] == outcome, "task"])
        for outcome in (*DECIDED, "insufficient evidence")
    }
    texts = [f"{_name(one)}: {names}" for one, names in tasks.items() if names]
    return "; ".join(texts) or "–"


def _own(claim: str, rows: pd.DataFrame) -> str:
    """Return the advice that was written for these very verdicts."""
    about = ADVICE.get(claim, {"verdicts": None})
    return about["advice"] if about["verdicts"] == verdict_names(rows) else ""


def verdict_names(rows: pd.DataFrame) -> list[str]:
    """Name verdicts, such as "supported: minilm-l6 on bbc_topic"."""
    three = zip(rows["outcome"], rows["model"], rows["task"], strict=True)
    return [f"{outcome}: {model} on {task}" for outcome, model, task in three]


def _advice(rows: pd.DataFrame, practice: dict[str, str]) -> str:
    """Say what to do where all decided verdicts agree, or where which."""
    decided = rows[rows["outcome"].isin(DECIDED)]
    if decided["outcome"].nunique() < 2:
        return "".join(practice[one] for one in decided["outcome"].unique()) or "–"
    return " ".join(
        f"{practice[str(outcome)]} ({_places(ours)})"
        for outcome, ours in decided.groupby("outcome", sort=False)
    )


def _places(rows: pd.DataFrame) -> str:
    pairs = zip(rows["model"], rows["task"], strict=True)
    return ", ".join(f"{model} on {task}" for model, task in pairs)


def numbers(verdicts: pd.DataFrame) -> str:
    """Format a section for each measured claim: a sentence and a row for each verdict."""
    lines = [*_saved(verdicts), ""]
    head = ("model", "task", "seeds", "items", "runs", "runs of a fixed design", "hours", "date",
            "data")  # fmt: skip
    for claim, rows in verdicts.groupby("claim", sort=False):
        constants = registry.describe("claims", str(claim)).constants
        lines += [f"### {claim}", "", f"{constants['CLAIM']} This holds if "
                  f"{constants['CRITERION']} ([rule](../docs/claims.md#{claim})).", "",
                  *_sentences(rows), "",
                  _line(*head), "|---" * len(head) + "|", *_rows(rows), ""]  # fmt: skip
    return "\n".join(lines).strip() + "\n"


def _sentences(rows: pd.DataFrame) -> Iterator[str]:
    for row in rows.to_dict("records"):
        yield f"- {_name(row['outcome'])}, {row['model']} on {row['task']}: {row['sentence']}"


def _name(outcome: str) -> str:
    return "*undecided*" if outcome == "insufficient evidence" else f"*{outcome}*"


def _saved(verdicts: pd.DataFrame) -> Iterator[str]:
    """Compare the runs of studies until their claims are decided with those of a fixed design.

    The claims of a study share its runs, in both designs.
    """
    rows = verdicts.dropna(subset="fixed_runs")
    if not rows.empty:
        studies = rows.groupby(["analysis", "model", "task"])[["runs", "fixed_runs"]].max()
        taken, fixed = studies.sum()
        yield (
            f"{len(rows)} of these verdicts are of {len(studies)} studies that trained until their "
            f"claims were decided or their looks used up. These took {taken:,.0f} runs, races "
            f"included; fixed designs of the same power would take {fixed:,.0f}, "
            f"{fixed / taken:.1f} times as many."
        )


def _rows(verdicts: pd.DataFrame) -> Iterator[str]:
    for row in verdicts.to_dict("records"):
        page = f"{row['analysis']}.html"
        links = f"[{row['analysis']}]({row['analysis']})"
        links += f", [page]({page})" if (REPORTS / page).exists() else ""
        sizes = (
            _number(row[name] or None, digits)  # shares of prompts have no items
            for name, digits in (
                ("seeds", 0), ("items", 0), ("runs", 0), ("fixed_runs", 0), ("hours", 1),
            )
        )  # fmt: skip
        yield _line(row["model"], row["task"], *sizes, row["date"], links)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or pd.isna(value) else f"{value:,.{digits}f}"


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"

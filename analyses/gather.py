"""Gather what the analyses gave into reports/: pages, tables, and the verdict on every claim.

for name in comparison quantisation merging; do
    peftlens study analyses/$name.toml --out studies/$name
done
python analyses/gather.py studies comparison quantisation merging

Of each analysis: reports/NAME.html, whose figures are drawn by the one copy of Plotly beside it;
reports/NAME/results.csv, .tex and .md, the benchmark table; reports/NAME/tables, by which claims
are judged; and its rows in reports/verdicts.csv, of which the table in reports/README.md is made.
Analyses that are not named stay as they are.
"""

import gzip
import sys
from pathlib import Path

import pandas as pd

from peftlens import literal, registry, report, results
from peftlens.citable.benchmark import benchmark
from peftlens.citable.formats import FORMATS
from peftlens.claims import Verdict, judge
from peftlens.results import Results

REPORTS = Path(__file__).parent.parent / "reports"
# The analysis whose study is made to judge it; others may say something of it too.
ASKED = {
    "footprint": "comparison", "memory": "comparison", "tradeoff": "comparison",
    "forgetting": "forgetting", "swap": "continual", "merge": "merging",
    "placement": "placement", "adapter_site": "placement", "attention_share": "rank",
    "rank": "rank", "prompt_length": "prompt_length", "qlora": "quantisation",
    "off_vocabulary": "soft_prompts", "clusters": "soft_prompts", "task_words": "soft_prompts",
}  # fmt: skip
LARGE = 100_000  # bytes of a table from which on it is compressed
FORMAT_OF = {".csv": "csv", ".tex": "latex", ".md": "markdown"}
MARKS = ("<!-- verdicts -->\n", "<!-- /verdicts -->\n")


def gather(name: str, study: Path) -> list[Verdict]:
    """Write what a study gave; returns the verdicts on the claims that it was made for."""
    found, folder = results.read(study), REPORTS / name
    folder.mkdir(exist_ok=True)
    report.write(study, REPORTS / f"{name}.html", assets=True)
    for ending, output in FORMAT_OF.items():
        text = FORMATS[output](found, benchmark(found))
        (folder / f"results{ending}").write_text(text)
    frames = {one: table.frame for one, table in found.tables.items()}
    verdicts = [one for one in judge(frames) if ASKED[one.claim] == name]
    keep(found, {need for one in verdicts for need in one.needs}, folder / "tables")
    return verdicts


def keep(found: Results, names: set[str], folder: Path) -> None:
    """Write tables as CSV."""
    folder.mkdir(exist_ok=True)
    for name in sorted(names & found.tables.keys()):
        data = literal.to_csv(found.tables[name].frame).encode()
        for old in folder.glob(f"{name}.csv*"):
            old.unlink()
        if len(data) > LARGE:
            (folder / f"{name}.csv.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (folder / f"{name}.csv").write_bytes(data)


def kept(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a folder, as a reader loads them."""
    found = {}
    for file in folder.glob("*.csv*"):
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        found[file.name.partition(".")[0]] = literal.from_csv(text)
    return found


def markdown(verdicts: pd.DataFrame) -> str:
    """A row for each claim, in the order of their names."""
    lines = ["| claim | verdict | in numbers | from |", "|---|---|---|---|"]
    for row in verdicts.itertuples():
        cells = (row.text, f"*{row.outcome}*", row.sentence, f"[{row.analysis}]({row.analysis})")
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all of it."""
    studies, names = Path(sys.argv[1]), sys.argv[2:]
    file = REPORTS / "verdicts.csv"
    columns = ["claim", "text", "outcome", "sentence", "analysis"]
    known = literal.from_csv(file.read_text()) if file.exists() else pd.DataFrame(columns=columns)
    rows = [
        (one.claim, one.text, one.outcome, one.sentence, name)
        for name in names
        for one in gather(name, studies / name)
    ]
    made = pd.DataFrame(rows, columns=columns)
    frame = pd.concat([known[~known["claim"].isin(made["claim"])], made])
    order = {name: place for place, name in enumerate(registry.names("claims"))}
    frame = frame.sort_values("claim", key=lambda one: one.map(order))
    file.write_text(literal.to_csv(frame))
    page = REPORTS / "README.md"
    before, _, rest = page.read_text().partition(MARKS[0])
    page.write_text(f"{before}{MARKS[0]}{markdown(frame)}{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main()

"""Gather the results of the analyses into reports/: pages, tables, and a verdict on every claim.

for name in comparison merging; do  # one run at a time, because memory and time are compared
    peftlens study analyses/$name.toml --out studies/$name --workers 1
done
for name in rank placement prompt_length quantization forgetting continual encoders_sequence \
    learning_rates batch capacity variants small_model little_data tuned_methods; do
    peftlens study analyses/$name.toml --out studies/$name
done
for name in soft_prompts_bbc_topic soft_prompts_word_sentiment waywardness lens_bbc_topic \
    lens_word_sentiment encoders_bbc_topic encoders_word_sentiment; do
    peftlens study analyses/$name.toml --out studies/$name
done
python analyses/gather.py studies comparison merging rank placement prompt_length quantization \
    forgetting continual soft_prompts lens encoders learning_rates batch capacity variants \
    small_model little_data tuned_methods

For each analysis: reports/NAME.html, which uses the shared copy of Plotly in reports/;
reports/NAME/results, the benchmark table of each study as CSV, LaTeX and Markdown;
reports/NAME/tables, from which claims are judged; and its rows in reports/verdicts.csv, from which
the table in reports/README.md is made. Analyses not named on the command line are unchanged.
"""

import gzip
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from peftlens import registry
from peftlens.claims import Verdict, judge
from peftlens.export.benchmark_table import benchmark_table
from peftlens.export.table_formats import FORMATS
from peftlens.io import escaping
from peftlens.reports import page as report
from peftlens.results import study_results

REPORTS = Path(__file__).parent.parent / "reports"
# Analyses of several studies; every other analysis has one study of the same name.
STUDIES = {
    "soft_prompts": ("soft_prompts_bbc_topic", "soft_prompts_word_sentiment", "waywardness"),
    "lens": ("lens_bbc_topic", "lens_word_sentiment"),
    "encoders": ("encoders_bbc_topic", "encoders_word_sentiment", "encoders_sequence"),
}
# Studies that are shown only, as their runs are not what the claims are about: anchored prompts.
SHOWN_ONLY = {"waywardness"}
# Tables that are kept because the folder's README quotes them, beside those of the claims.
QUOTED = {"encoders": {"linear_probes"}}
LARGE = 100_000  # size of a table above which it is compressed, bytes
FORMAT_OF = {".csv": "csv", ".tex": "latex", ".md": "markdown"}
MARKS = ("<!-- verdicts -->\n", "<!-- /verdicts -->\n")


def analysis_of_claim() -> dict[str, str]:
    """Map each claim to the analysis that is designed to judge it."""
    names = registry.names("claims")
    return {name: registry.describe("claims", name).constants["ANALYSIS"] for name in names}


def gather(name: str, studies: Sequence[Path]) -> list[Verdict]:
    """Write the results of an analysis; return the verdicts on its claims."""
    folder = REPORTS / name
    (folder / "results").mkdir(parents=True, exist_ok=True)
    report.write(studies, REPORTS / f"{name}.html", assets=True)
    found = [study_results.read(study) for study in studies]
    for study, one in zip(studies, found, strict=True):
        for ending, output in FORMAT_OF.items():
            text = FORMATS[output](one, benchmark_table(one))
            (folder / "results" / f"{study.name}{ending}").write_text(text, encoding="utf-8")
    frames: dict[str, list[pd.DataFrame]] = {}
    pairs = zip(studies, found, strict=True)
    for one in (one for study, one in pairs if study.name not in SHOWN_ONLY):
        for table, content in one.tables.items():
            frames.setdefault(table, []).append(content.frame.assign(study=one.name))
    pooled = {table: pd.concat(parts) for table, parts in frames.items()}
    claims = analysis_of_claim()
    verdicts = [one for one in judge(pooled) if claims[one.claim] == name]
    needs = {need for one in verdicts for need in one.needs}
    keep(pooled, needs | QUOTED.get(name, set()), folder / "tables")
    return verdicts


def keep(frames: Mapping[str, pd.DataFrame], names: set[str], folder: Path) -> None:
    """Write tables as CSV."""
    folder.mkdir(exist_ok=True)
    for name in sorted(names & frames.keys()):
        data = escaping.to_csv(frames[name]).encode()
        for old in folder.glob(f"{name}.csv*"):
            old.unlink()
        if len(data) > LARGE:
            (folder / f"{name}.csv.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (folder / f"{name}.csv").write_bytes(data)


def kept(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of a folder."""
    tables = {}
    for file in folder.glob("*.csv*"):
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
        tables[file.name.partition(".")[0]] = escaping.from_csv(text)
    return tables


def markdown(verdicts: pd.DataFrame) -> str:
    """Format a row for each claim, in the order of their names."""
    lines = ["| claim | verdict | in numbers | from |", "|---|---|---|---|"]
    for row in verdicts.itertuples():
        page = f"{row.analysis}.html"
        links = f"[{row.analysis}]({row.analysis})"
        links += f", [page]({page})" if (REPORTS / page).exists() else ""
        cells = (row.text, f"*{row.outcome}*", row.sentence, links)
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Gather the named analyses."""
    studies, names = Path(sys.argv[1]), sys.argv[2:]
    file = REPORTS / "verdicts.csv"
    columns = ["claim", "text", "outcome", "sentence", "analysis"]
    known = (
        escaping.from_csv(file.read_text(encoding="utf-8"))
        if file.exists()
        else pd.DataFrame(columns=columns)
    )
    rows = [
        (one.claim, one.text, one.outcome, one.sentence, name)
        for name in names
        for one in gather(name, [studies / one for one in STUDIES.get(name, (name,))])
    ]
    made = pd.DataFrame(rows, columns=columns)
    frame = pd.concat([known[~known["claim"].isin(made["claim"])], made])
    order = {name: place for place, name in enumerate(registry.names("claims"))}
    frame = frame.sort_values("claim", key=lambda one: one.map(order))
    file.write_text(escaping.to_csv(frame), encoding="utf-8")
    page = REPORTS / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    page.write_text(
        f"{before}{MARKS[0]}{markdown(frame)}{MARKS[1]}{rest.partition(MARKS[1])[2]}",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()

"""Write reports/quickstart: tables of `peftlens quickstart`, and its page.

peftlens quickstart --out quickstart
python analyses/quickstart.py quickstart

The README's Python code is run too; example.csv has its output. took.csv has the time from the
start of the command to its page, and the machine.
"""

import contextlib
import io
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import pandas as pd
from measured import read

from peftlens.io import escaping
from peftlens.reports import page as report
from peftlens.results import study_results

ROOT = Path(__file__).parent.parent
OUT = ROOT / "reports" / "quickstart"
TABLES = ("task_accuracy", "rank_chart", "forgetting", "parameter_count",
          "soft_prompt_neighbors", "soft_prompt_null")  # fmt: skip


def took(study: Path) -> pd.DataFrame:
    """Measure the minutes of the whole command, for a study run by one call."""
    found = study_results.read(study)
    (call,) = found.calls
    began = datetime.fromisoformat(call["began"]).timestamp()
    minutes = ((study / "report.html").stat().st_mtime - began) / 60
    config = found.runs[0].config
    machine = f"{call['processor']}, {call['cores']} cores"
    return pd.DataFrame([{"minutes": round(minutes), "machine": machine, "dtype": config.dtype}])


def example() -> pd.DataFrame:
    """Run the README's Python code and return its output."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
    ):
        exec("\n".join(blocks), {})
    return pd.DataFrame({"printed": printed.getvalue().splitlines()})


def main(study: Path) -> None:
    """Write all measured rows, and the report."""
    for name in TABLES:
        frame = read(study, name).drop(columns=["status", "reason"], errors="ignore")
        (OUT / f"{name}.csv").write_text(escaping.to_csv(frame), encoding="utf-8")
    took(study).to_csv(OUT / "took.csv", index=False)
    example().to_csv(OUT / "example.csv", index=False)
    report.write([study], OUT.with_suffix(".html"), assets=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Growth of time and size when the input is doubled.

python analyses/performance/growth.py

Runs of a study (a worker that trains nothing; see study_overhead.py), tokens that are scored, rows
of a vocabulary that is searched, runs in a report. `ratio` is to the line before: 2 is linear.
"""

import statistics
import tempfile
from functools import partial
from pathlib import Path

import pages
import study_overhead
import torch
from measurements import seconds, write

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import log_probabilities
from peftlens.models.base_model import load_base_model
from peftlens.reports import page as report
from peftlens.vocab.nearest_neighbors import nearest


def runs(count: int, folder: Path) -> dict:
    """Run a new study of `count` runs."""
    took, megabytes, _ = study_overhead.carried_out(count, folder / "study")
    return {"seconds": took, "megabytes": megabytes}


def tokens(count: int, _: Path) -> dict:
    """Score texts of 64 tokens, `count` tokens in total."""
    base = load_base_model("smollm2-135m")
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(49_152, (count // 64, 64), generator=generator).tolist()
    rows, encoder = [TokenizedAnswer((), tuple(text)) for text in ids], Collator.of(base, 256)
    return {"seconds": seconds(partial(log_probabilities, base.model, encoder, rows, "Scoring"))}


def vocabulary(count: int, _: Path) -> dict:
    """Search the neighbors of 100 vectors among `count` vectors of width 640."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(count, 640, generator=generator)
    search = partial(nearest, torch.randn(100, 640, generator=generator), table, 5)
    return {"seconds": statistics.median(seconds(search) for _ in range(5))}


def page(count: int, folder: Path) -> dict:
    """Render the report of a study of `count` runs."""
    study = pages.study(folder, count)
    found: list[str] = []
    took = seconds(lambda: found.append(report.render([study])))
    return {"seconds": took, "megabytes": len(found[0].encode()) / 1e6}


GROWN = {
    "runs of a study": (runs, (1000, 2000, 4000)),
    "tokens that are scored": (tokens, (4096, 8192, 16_384)),
    "rows of a vocabulary": (vocabulary, (65_536, 131_072, 262_144)),
    "runs in a report": (page, (50, 100, 200)),
}


def main() -> None:
    """Write reports/performance/growth.csv."""
    rows = []
    for what, (measure, sizes) in GROWN.items():
        before = None
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                found = measure(size, Path(folder))
            rows.append(
                {"what": what, "size": size, "seconds": round(found["seconds"], 2),
                 "ratio": round(found["seconds"] / before, 2) if before else "",
                 "megabytes": round(found["megabytes"], 1) if "megabytes" in found else ""}
            )  # fmt: skip
            before = found["seconds"]
            print(rows[-1], flush=True)
    write(__file__, rows)


if __name__ == "__main__":
    main()

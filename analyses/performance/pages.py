"""Size of pages, and time to write and draw them.

python analyses/performance/pages.py

A report of 200 made-up runs by the whole command, and an explorer of 262,144 made-up tokens in
Chromium without a GPU, from the navigation to the drawn map; three times each, medians.
"""

import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from measurements import ROOT, seconds, write
from playwright.sync_api import sync_playwright

from peftlens.explorer import page as explorer

sys.path.insert(0, str(ROOT / "tests"))
import drawn
import finished

REPEATS = 3
FLAGS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
         "--disable-background-networking"]  # fmt: skip


def study(folder: Path, runs: int) -> Path:
    """Made-up runs over ranks, rates, layers and seeds, 200 at most; a tenth are soft prompts."""
    configs = [
        finished.lora(rank, seed, rate, **layers)
        for seed, rank, rate, layers in itertools.product(
            range(5),
            (1, 2, 4, 8, 16, 64),
            (3e-4, 1e-3, 3e-3),
            ({}, {"target_modules": "all_linear"}),
        )
    ]
    prompts = [finished.plain("prompt_tuning", seed, num_virtual_tokens=20) for seed in range(20)]
    chosen = configs[: runs - runs // 10] + prompts[: runs // 10]
    assert len(chosen) == runs
    return finished.study(folder, chosen, items=100)


def report(folder: Path) -> dict:
    """Of 200 runs."""
    made = study(folder, 200)
    command = ["peftlens", "report", str(made)]
    took = [
        seconds(partial(subprocess.run, command, check=True, capture_output=True))
        for _ in range(REPEATS)
    ]
    size = (made / "report.html").stat().st_size
    return {"page": "report of 200 runs", "seconds": round(statistics.median(took), 1),
            "megabytes": round(size / 1e6, 1), "of": "peftlens report"}  # fmt: skip


def map_of_tokens(folder: Path) -> dict:
    """Of a quarter of a million tokens."""
    rng = np.random.default_rng(0)
    syllables = ["al", "ber", "con", "dra", "el", "fi", "gon", "ha", "il", "jo", "ka", "lum"]
    tokens = tuple("␣" + "".join(rng.choice(syllables, 3)) for _ in range(262_144))
    page = explorer.write(
        drawn.explorer_data(len(tokens), tokens=tokens), "map", folder / "map.html"
    )
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(REPEATS):
            shown = browser.new_page(viewport={"width": 1400, "height": 900})

            def draw(shown=shown) -> None:
                shown.goto(page.as_uri())
                shown.wait_for_selector("body[data-drawn]")

            took.append(seconds(draw))
            shown.close()
        browser.close()
    return {"page": f"explorer of {len(tokens):,} tokens", "megabytes":
            round(page.stat().st_size / 1e6, 1), "seconds": round(statistics.median(took), 1),
            "of": "first drawing"}  # fmt: skip


def main() -> None:
    """Write reports/performance/pages.csv."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = [
            make(Path(temporary, name))
            for name, make in (("report", report), ("map", map_of_tokens))
            if Path(temporary, name).mkdir() is None
        ]
    write(__file__, [{key: row[key] for key in rows[0]} for row in rows])


if __name__ == "__main__":
    main()

"""Size of pages, and time to write and draw them.

python analyses/performance/pages.py

A report of 200 made-up runs by the whole command, and explorers of 49,152 and 262,144 made-up
tokens in Chromium without a GPU: from the navigation to the drawn map, from a click on a token to
the frame with its neighbors, and the longest frame while the map is dragged; three times each,
medians.
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
from playwright.sync_api import Page, sync_playwright

from peftlens.explorer import page as explorer
from peftlens.explorer.build import FEW, MANY

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


def page_of_tokens(folder: Path, size: int) -> Path:
    """An explorer of made-up tokens, with as many pairs of neighbors as of five or one metrics."""
    rng = np.random.default_rng(0)
    syllables = ["al", "ber", "con", "dra", "el", "fi", "gon", "ha", "il", "jo", "ka", "lum"]
    tokens = tuple("␣" + "".join(one) for one in rng.choice(syllables, (size, 3)).tolist())
    pairs = drawn.neighbors(size, 20 if size <= MANY else FEW - 1)
    data = drawn.explorer_data(size, tokens=tokens, neighbors=pairs)
    return explorer.write(data, "map", folder / f"{size}.html")


CLICK = """async () => {
    const button = document.querySelector("#found button"), started = performance.now();
    button.click();
    await new Promise(requestAnimationFrame);
    await new Promise((resolve) => setTimeout(resolve));
    return performance.now() - started;
}"""
FRAMES = """() => {
    window.frames_ = [];
    let before = performance.now();
    const next = () => { const now = performance.now(); window.frames_.push(now - before);
                         before = now; requestAnimationFrame(next); };
    requestAnimationFrame(next);
}"""


def first_drawing(shown: Page, page: Path) -> float:
    """Seconds from the navigation to the drawn map."""

    def draw() -> None:
        shown.goto(page.as_uri())
        shown.wait_for_selector("body[data-drawn]")

    return seconds(draw)


def click(shown: Page) -> float:
    """Milliseconds from a click on a token to the frame with its neighbors."""
    shown.locator("#query").fill("albercon")
    shown.locator("#found button").first.wait_for()
    shown.wait_for_timeout(500)
    return shown.evaluate(CLICK)


def longest_frame(shown: Page) -> float:
    """Milliseconds of the longest frame while the map is dragged, of about a hundred."""
    shown.locator("#query").fill("")
    shown.locator("#reset").click()
    shown.wait_for_timeout(500)
    shown.mouse.move(500, 400)
    shown.mouse.down()
    shown.evaluate(FRAMES)
    for n in range(60):
        shown.mouse.move(500 + 4 * (n % 30), 400 + 2 * (n % 30))
        shown.wait_for_timeout(16)
    frames = shown.evaluate("window.frames_.slice(1)")
    shown.mouse.up()
    return max(frames)


def map_of_tokens(folder: Path, size: int) -> list[dict]:
    """Size, first drawing, click and dragging of one page, medians."""
    page = page_of_tokens(folder, size)
    took: dict[str, list[float]] = {"first drawing": [], "click": [], "longest frame": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(REPEATS):
            shown = browser.new_page(viewport={"width": 1400, "height": 900})
            took["first drawing"].append(first_drawing(shown, page))
            took["click"].append(click(shown) / 1000)
            took["longest frame"].append(longest_frame(shown) / 1000)
            shown.close()
        browser.close()
    megabytes = round(page.stat().st_size / 1e6, 1)
    return [
        {"page": f"explorer of {size:,} tokens", "seconds": round(statistics.median(times), 3),
         "megabytes": megabytes, "of": what}
        for what, times in took.items()
    ]  # fmt: skip


def main() -> None:
    """Write reports/performance/pages.csv."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [
            report(folder),
            *map_of_tokens(folder, 49_152),
            *map_of_tokens(folder, 262_144),
        ]
    write(__file__, [{key: row[key] for key in rows[0]} for row in rows])


if __name__ == "__main__":
    main()

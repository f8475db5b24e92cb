"""Pictures of the docs: the first screens of a report and of an explorer.

python docs/site/pictures.py REPORT.html EXPLORER.html

writes docs/pictures/report.png and explorer.png, 1400 x 900, as Chromium shows the pages without a
network. The committed ones are of reports/quickstart.html and of `peftlens explore` of the
soft prompt that the quickstart trains.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

OUT = Path(__file__).parents[1] / "pictures"
SIZE = {"width": 1400, "height": 900}
LARGEST = 200_000  # bytes
COLORS = 256  # with fewer, small areas such as marks of a legend lose their color
SETTLED = 3_000  # milliseconds that a page has for its first drawing
FLAGS = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
         "--disable-background-networking"]  # fmt: skip


def take(page: Path, picture: Path) -> None:
    """Write the first screen of a page as a PNG.

    Raises:
        SystemExit: there is no Chromium, or the picture is larger than 200 kB.
    """
    chromium = shutil.which("chromium") or sys.exit("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport=SIZE, color_scheme="light", offline=True)
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(SETTLED)
        tab.screenshot(path=picture)
        browser.close()
    Image.open(picture).convert("RGB").quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(
        picture, optimize=True
    )
    if (size := picture.stat().st_size) > LARGEST:
        sys.exit(f"{picture} has {size:,} bytes; at most {LARGEST:,} are allowed in the docs")


def main(report: Path, explorer: Path) -> None:
    """Take both pictures."""
    OUT.mkdir(exist_ok=True)
    take(report, OUT / "report.png")
    take(explorer, OUT / "explorer.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))

"""What the scripts beside this file share: rows of a study's tables, and pictures of a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from playwright.sync_api import Page, sync_playwright

from peftlens.results import table


def read(study: Path, name: str) -> pd.DataFrame:
    """The measured rows of one probe's table."""
    return table.measured(table.read(study / "tables" / f"{name}.parquet").frame)


@contextmanager
def opened(file: Path, width: int, height: int) -> Iterator[Page]:
    """A page as Chromium shows it in light mode."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()

"""Shared by the scripts of this folder: rows of a study's tables, and screenshots of a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from playwright.sync_api import Page, sync_playwright

from peftlens.results import table


def read(study: Path, name: str) -> pd.DataFrame:
    """Read the measured rows of one probe's table."""
    return table.measured(table.read(study / "tables" / f"{name}.parquet").frame)


@contextmanager
def opened(file: Path, width: int, height: int) -> Iterator[Page]:
    """Open a page in Chromium, in light mode."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()

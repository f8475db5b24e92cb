"""Pages of the report in a real Chromium with the network cut."""

import shutil

import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium")
    assert executable, "these tests need Chromium: apt-get install chromium"
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=options)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Open a page under given settings; whatever it says or asks for is kept."""
    contexts = []

    def open_file(file, **settings):
        context = browser.new_context(offline=True, **settings)
        contexts.append(context)
        shown = context.new_page()
        shown.said, shown.requests, shown.failed = [], [], []
        shown.on("requestfailed", lambda request: shown.failed.append(request.failure))
        shown.on("console", lambda message: shown.said.append(message.text))
        shown.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.on("request", lambda request: shown.requests.append(request.url))
        shown.on("dialog", lambda dialog: shown.said.append(dialog.message))
        shown.goto(file.as_uri())
        return shown

    yield open_file
    for context in contexts:
        context.close()

"""A real Chromium with the network cut, and a page of made-up data."""

import shutil

import drawn
import pytest
from drawn import HOSTILE, TOKENS
from playwright.sync_api import sync_playwright

from peftlens.explorer import page as explorer


@pytest.fixture(scope="session")
def explorer_data():
    return drawn.explorer_data(tokens=TOKENS)


@pytest.fixture(scope="session")
def page(explorer_data, tmp_path_factory):
    return explorer.write(explorer_data, HOSTILE, tmp_path_factory.mktemp("page") / "explorer.html")


def started(playwright, *more):
    executable = shutil.which("chromium")
    assert executable, "these tests need Chromium: apt-get install chromium"
    options = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
               "--disable-background-networking", *more]  # fmt: skip
    return playwright.chromium.launch(executable_path=executable, args=options)


@pytest.fixture(scope="session")
def browsers():
    with sync_playwright() as playwright:
        found = {True: started(playwright), False: started(playwright, "--disable-3d-apis")}
        yield found
        for browser in found.values():
            browser.close()


@pytest.fixture
def opened(browsers, page):
    contexts = []

    def open_page(file=page, webgl=True, link="", **settings):
        settings = {
            "viewport": {"width": 1400, "height": 900},
            "reduced_motion": "reduce",
        } | settings
        context = browsers[webgl].new_context(offline=True, **settings)
        contexts.append(context)
        shown = context.new_page()
        shown.said, shown.requests = [], []
        shown.on(
            "console",
            lambda one: shown.said.append(one.text) if one.type in ("error", "warning") else None,
        )
        shown.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.on("request", lambda request: shown.requests.append(request.url))
        shown.goto(file.as_uri() + link)
        if settings.get("java_script_enabled", True):
            shown.wait_for_selector("body[data-drawn]")
        return shown

    yield open_page
    for context in contexts:
        context.close()

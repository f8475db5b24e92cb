"""The built site: complete, with links that lead somewhere, and nothing loaded from elsewhere."""

import contextlib
import functools
import re
import shutil
import threading
import tomllib
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import sync_playwright

import peftlens

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class References(HTMLParser):
    """Addresses that a page loads, and those that it links to."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.linked, self.names = [], [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.linked.append(found["href"])
        elif found.get(LOADED.get(tag, "")) and found.get("rel") not in ("prev", "next"):
            self.loaded.append(found[LOADED[tag]])


def pages_of_docs(site):
    """Pages that Zensical made, not the published reports."""
    return [page for page in site.rglob("*.html") if 'name="generator"' in page.read_text()[:3000]]


def test_a_page_loads_only_files_of_the_site(site):
    pages = pages_of_docs(site)
    assert len(pages) > 60
    for page in pages:
        for address in References(page).loaded:
            assert (page.parent / unquote(address)).is_file(), (page, address)


def test_styles_load_nothing(site):
    for style in site.rglob("*.css"):
        found = re.findall(r"url\(([^)]*)\)|@import", style.read_text())
        assert all(one.strip("'\"").startswith(("data:", "#")) for one in found), style


def test_links_are_relative_and_lead_somewhere(site):
    names = {page: References(page).names for page in site.rglob("*.html")}
    for page in pages_of_docs(site):
        for link in References(page).linked:
            if re.match(r"(https?|mailto):", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), (page, link)
            if anchor and target in names:
                assert anchor in names[target], (page, link)


@pytest.mark.usefixtures("site_modules")
def test_every_page_of_docs_is_in_the_navigation(site):
    from build import configuration

    config = tomllib.loads(configuration())
    entries = [entry for one in config["project"]["nav"] for entry in files(one)]
    assert len(entries) == len({*entries})
    assert {file.name for file in ROOT.glob("docs/*.md")} <= {*entries}
    folders = {file.parent.name for file in ROOT.glob("reports/*/README.md")}
    assert {f"reports/{name}/index.md" for name in folders} <= {*entries}
    pages = [(site / entry).with_suffix(".html") for entry in entries]
    assert all(page.is_file() for page in pages)
    home = References(site / "index.html").linked
    linked = {(site / link.partition("#")[0]).resolve() for link in home if ":" not in link}
    assert {*pages} <= linked


def files(entry):
    for value in entry.values():
        yield from (
            [value] if isinstance(value, str) else [one for sub in value for one in files(sub)]
        )


def test_the_api_is_documented_with_signatures_and_errors(site):
    page = site / "api.html"
    assert {f"peftlens.{name}" for name in peftlens.__all__} - {"peftlens.__version__"} <= (
        References(page).names
    )
    text = re.sub(r"<[^>]+>", "", page.read_text())
    assert "trust_remote_code" in text
    assert "a name, an option or a value is invalid" in text  # what train raises
    assert ":::" not in text


def test_published_reports_are_live_and_unchanged(site):
    reports = [*ROOT.glob("reports/*.html"), *ROOT.glob("reports/*.js")]
    assert len(reports) > 10
    for report in reports:
        assert (site / "reports" / report.name).read_bytes() == report.read_bytes()


def test_the_notebook_shows_what_its_cells_showed(site):
    text = (site / "notebook.html").read_text()
    assert 'href="notebook.ipynb"' in text
    assert text.count('class="cell-output"') >= 8


@pytest.fixture
def served(site):
    handler = functools.partial(QuietHandler, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def browser_page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser.new_page(viewport={"width": 400, "height": 900})
        browser.close()


def test_in_a_browser_nothing_is_asked_of_others_and_search_finds(served):
    with browser_page() as page:
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        for name in ("index", "getting_started", "gallery", "api", "reports/performance/index"):
            page.goto(f"{served}/{name}.html")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
        page.set_viewport_size({"width": 1400, "height": 900})
        page.goto(f"{served}/index.html")
        page.wait_for_load_state("networkidle")  # the search has its index
        page.keyboard.press("Control+k")
        page.get_by_placeholder("Search").first.wait_for()
        page.keyboard.type("prefix tuning")
        page.locator('a[href*="gallery.html?h="]').first.wait_for()
    assert not errors
    assert asked
    assert all(url.startswith((served, "data:", "blob:")) for url in asked)

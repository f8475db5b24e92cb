"""The page, as text and in a real Chromium with the network cut."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from peftlens import report, study, table
from peftlens.errors import BadInput

HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}"


@pytest.fixture(scope="module")
def finished(bases, words, tmp_path_factory):
    """A small study with every kind of section."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "tiny.toml"
    file.write_text(
        f"""
name = "{HOSTILE}"
base = "{bases["llama"]}"
device = "cpu"
dtype = "float32"
[task]
name = "file:{words}"
[training]
steps = 3
checkpoint_steps = [0]
[[runs]]
method = "frozen"
[[runs]]
method = "lora"
grid = {{ rank = [1, 2] }}
[[runs]]
method = "prompt_tuning"
config = {{ num_virtual_tokens = 3, init = "text", init_text = "<b>" }}
[probe_options.forgetting]
suites = ["wiki", "openbookqa"]
items = 20
"""
    )
    assert study.carry_out(file, folder / "out", study.How(workers=0)).failed == ()
    return folder / "out"


@pytest.fixture(scope="module")
def page(finished):
    return report.write(finished)


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
def opened(browser, page):
    """Open the page under given settings; whatever it says or asks for is kept."""
    contexts = []

    def open_page(**settings):
        context = browser.new_context(offline=True, **settings)
        contexts.append(context)
        shown = context.new_page()
        shown.said, shown.requests = [], []
        shown.on("console", lambda message: shown.said.append(message.text))
        shown.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.on("request", lambda request: shown.requests.append(request.url))
        shown.goto(page.as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_draws_every_figure_and_asks_for_nothing(opened, page, width, scheme):
    shown = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown.wait_for_selector(".plot .main-svg")
    plots = shown.locator(".plot").count()
    assert plots == shown.locator(".plot:has(.main-svg)").count() >= 5
    assert shown.said == []
    assert shown.requests == [page.as_uri()]
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    ink = shown.locator(".plot text").first.evaluate("node => getComputedStyle(node).fill")
    assert ink == ("rgb(28, 30, 33)" if scheme == "light" else "rgb(232, 234, 237)")


def test_names_are_shown_literally(opened):
    shown = opened()
    assert shown.locator("h1").inner_text() == HOSTILE
    assert shown.locator("img").count() == 0
    assert "{{7*7}}" in shown.title()
    assert "<" in shown.locator("#prompts code").all_inner_texts()


def test_without_javascript_answer_and_tables_are_there(opened):
    shown = opened(java_script_enabled=False)
    assert "test examples right" in shown.locator(".answer").first.inner_text()
    assert shown.locator("#task_accuracy tbody tr").count() == 4


def test_contents_links_lead_somewhere(opened):
    shown = opened()
    for link in shown.locator("nav a").all():
        assert shown.locator(str(link.get_attribute("href"))).count() == 1


def test_download_holds_the_tables_numbers(page, finished):
    text = page.read_text()
    found = re.search(r'download="task_accuracy.csv" href="data:text/csv;base64,([^"]+)"', text)
    assert found
    csv = pd.read_csv(io.BytesIO(base64.b64decode(found[1])))
    frame = table.read(finished / "tables" / "task_accuracy.parquet").frame
    assert csv["accuracy"].tolist() == frame["accuracy"].tolist()
    assert csv["configuration"].tolist() == frame["configuration"].tolist()


def test_the_answer_says_what_the_tables_say(page, finished):
    frame = table.read(finished / "tables" / "task_accuracy.parquet").frame
    frozen = frame[frame["configuration"] == "frozen"].iloc[0]
    assert f"The untrained base model answers {frozen['accuracy']:.0%}" in page.read_text()


def test_same_files_same_bytes(finished):
    assert report.render(finished) == report.render(finished)


def test_no_address_is_asked(page):
    text = page.read_text()
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert "showSendToCloud: false" in text
    assert page.stat().st_size < 8e6


def test_what_failed_is_said(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    index = json.loads((copy / "study.json").read_text())
    shutil.rmtree(copy / "runs" / index["runs"][1])
    (copy / "failed").mkdir()
    record = {"what": "lora rank=1 seed=0", "error": "RuntimeError: out of luck", "traceback": ""}
    (copy / "failed" / "x.json").write_text(json.dumps(record))
    text = report.render(copy)
    assert "lora rank=1 seed=0: RuntimeError: out of luck" in text
    assert "lora rank=1: not run, or failed" in text


def test_a_study_without_runs_or_tables(tmp_path):
    index = {"name": "empty", "runs": [], "configurations": {}}
    (tmp_path / "study.json").write_text(json.dumps(index))
    (tmp_path / "study.toml").write_text("")
    assert "No run of this study has been measured yet" in report.render(tmp_path)


def test_folder_that_is_no_study(tmp_path):
    with pytest.raises(BadInput, match="holds no study"):
        report.render(tmp_path)


def test_damaged_table_is_named(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "tables" / "forgetting.parquet").write_bytes(b"half")
    with pytest.raises(BadInput, match=r"forgetting.parquet is no table of peftlens or is damaged"):
        report.render(copy)


def test_reporting_imports_no_model_library(finished):
    code = (
        "import sys; from peftlens import report\n"
        f"report.write({str(finished)!r}, {str(finished / 'other.html')!r})\n"
        "print(sorted(set(sys.modules) & {'torch', 'transformers', 'peft', 'umap'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

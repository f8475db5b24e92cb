"""The page, as text and in a real Chromium with the network cut."""

import base64
import gzip
import itertools
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import finished
import pytest
from drawings import draw_all, open_folds
from playwright.sync_api import expect

from peftlens import registry
from peftlens.claims import judge
from peftlens.errors import InputError
from peftlens.io import escaping
from peftlens.reports import page as report
from peftlens.results import table
from peftlens.studies import runner

pytestmark = pytest.mark.long

HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}\u202e$x$ \\input{/etc/passwd}"
SHOWN = HOSTILE.replace("\u202e", "<U+202E>")


@pytest.fixture(scope="module")
def trained(bases, words, tmp_path_factory):
    """A small study of real runs with every kind of section."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "tiny.toml"
    file.write_text(
        f"""
name = {json.dumps(HOSTILE)}
base_model = "{bases["llama"]}"
device = "cpu"
dtype = "float32"
[task]
name = "file:{words}"
[training]
max_steps = 3
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
    assert runner.run_study(file, folder / "out", runner.StudyOptions(workers=0)).failed == ()
    return folder / "out"


@pytest.fixture(scope="module")
def page(trained):
    return report.write(trained)


@pytest.fixture
def opened(open_page, page):
    """Open a page, by default that of the small study, under given settings."""

    def open_file(file=page, **settings):
        return open_page(file, **settings)

    return open_file


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_draws_every_figure_and_asks_for_nothing(opened, page, width, scheme):
    shown = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    draw_all(shown)
    assert shown.locator(".plot .main-svg").count() >= 5
    assert shown.said == []
    assert shown.requests == [page.as_uri()]
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    ink = shown.locator(".plot text").first.evaluate("node => getComputedStyle(node).fill")
    assert ink == ("rgb(28, 30, 33)" if scheme == "light" else "rgb(232, 234, 237)")


def test_plotly_starts_with_the_first_figure_that_comes_into_view(opened):
    shown = opened()
    assert shown.evaluate("typeof Plotly") == "undefined"
    shown.locator(".drawn").first.scroll_into_view_if_needed()
    shown.locator(".live .main-svg").first.wait_for()
    assert shown.evaluate("typeof Plotly") == "object"
    assert shown.said == []


def test_the_policy_lets_no_other_script_run_and_nothing_be_fetched(opened):
    shown = opened()
    shown.evaluate(
        """() => {
            window.ran = false;
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            const image = document.createElement("img");
            image.src = "https://example.org/x.png";
            document.body.append(image);
        }"""
    )
    shown.wait_for_timeout(200)
    assert shown.evaluate("window.ran") is False
    assert sum("Content Security Policy" in said for said in shown.said) == 2
    assert shown.failed == ["csp"]  # the image's request never left


def test_names_are_shown_literally(opened):
    shown = opened()
    assert shown.locator("h1").inner_text() == SHOWN
    assert shown.locator("img").count() == 0
    assert "{{7*7}}" in shown.title()
    assert "<" in shown.locator("#prompts code").all_inner_texts()
    assert r"\textbackslash{}input" in shown.locator("#citation pre").inner_text()
    assert shown.said == []


def test_without_javascript_verdicts_tables_and_pictures_are_there(opened):
    shown = opened(java_script_enabled=False)
    assert "highest accuracy of" in shown.locator(".results .finding").inner_text()
    assert "Attention holds" in shown.locator(".verdict-groups").inner_text()
    assert shown.locator("#task_accuracy tbody tr").count() == 4
    assert shown.locator("#rank_chart .still svg").first.is_visible()
    assert not shown.locator(".filter").is_visible()


def test_contents_links_lead_somewhere(opened):
    shown = opened()
    links = shown.locator("nav a, .cards a, .verdict-groups a").all()
    assert len(links) > 10
    for link in links:
        assert shown.locator(str(link.get_attribute("href"))).count() == 1
    shown.locator("nav a", has_text="Provenance").click()
    assert shown.evaluate("location.hash") == "#provenance"


def test_only_what_is_asked_for_is_shown(opened):
    shown = opened()
    draw_all(shown)
    rows, marks = "#task_accuracy tbody tr:visible", "#plot-rank_chart-0-0 .point"
    assert shown.locator(rows).count() == shown.locator(marks).count() == 4
    note = shown.locator("#rank_chart .of-all").first
    assert not note.is_visible()
    for text in ("lora", "rank=", "LoRA, rank"):  # keys and names
        shown.locator(".filter input").fill(text)
        expect(shown.locator(marks)).to_have_count(2)
    expect(note).to_have_text("Of all, without the filter: ")
    assert note.is_visible()
    assert shown.locator(rows).count() == 2
    shown.locator(".filter input").fill("")
    expect(shown.locator(marks)).to_have_count(4)
    assert shown.locator(rows).count() == 4
    assert not note.is_visible()
    assert shown.said == []


def compared(shown):
    """The chart of any two metrics, its sentence and what it draws."""
    figure = shown.locator("#compare figure")
    figure.scroll_into_view_if_needed()
    expect(shown.locator("#compare .live")).to_have_count(1)
    return figure, figure.locator(".finding"), figure.locator(".point")


def test_the_reader_chooses_the_axes_by_keyboard(opened):
    shown = opened()
    figure, finding, points = compared(shown)
    expect(points).to_have_count(4)
    titles = figure.locator("option").all_inner_texts()
    assert len(titles) >= 8
    first = finding.inner_text()
    shown.locator("[data-axis=x]").focus()
    shown.keyboard.type("step")
    expect(shown.locator("[data-axis=x] option:checked")).to_have_text(re.compile("^step time"))
    expect(figure.locator(".what")).to_have_text(re.compile(r"^accuracy \(%\) against step time"))
    expect(figure.locator(".xtitle")).to_have_text(re.compile("^step time"))
    assert "on the Pareto front" in finding.inner_text()
    label = figure.locator(".plot").get_attribute("aria-label")
    assert label.startswith(finding.inner_text())
    shown.locator("[data-axis=x]").select_option(label="trainable parameters")
    expect(finding).to_have_text(first)
    assert shown.said == []


def test_the_front_and_its_sentence_follow_the_filter(opened):
    shown = opened()
    figure, finding, points = compared(shown)
    shown.locator(".filter input").fill("rank 1")
    expect(points).to_have_count(1)
    expect(finding).to_have_text("1 of 1 are on the Pareto front: LoRA, rank 1.")
    assert not figure.locator(".of-all").is_visible()
    shown.locator(".filter input").fill("no such run")
    expect(finding).to_have_text("No configuration that is shown has both.")
    assert shown.said == []


def test_without_javascript_the_first_choice_is_a_picture(opened):
    shown = opened(java_script_enabled=False)
    figure = shown.locator("#compare figure")
    assert figure.locator(".still svg").is_visible()
    assert "on the Pareto front" in figure.locator(".finding").inner_text()
    assert not figure.locator("select").first.is_visible()


def test_a_method_has_one_color_on_the_page(opened):
    shown = opened()
    specs = [json.loads(one) for one in shown.locator("[data-plot]").all_text_contents()]
    looks = {}
    for trace in (trace for spec in specs for trace in spec["data"] if trace.get("customdata")):
        for key in trace["customdata"]:
            method = key.partition(" ")[0]
            if "marker" in trace and method in ("lora", "frozen"):
                looks.setdefault(method, set()).add(trace["marker"]["color"])
    assert looks == {"lora": {"#0072B2"}, "frozen": {"#808080"}}


def test_a_download_holds_the_tables_numbers(opened, trained):
    shown = opened()
    open_folds(shown)
    with shown.expect_download() as waiting:
        shown.locator("#task_accuracy a[download]").click()
    assert waiting.value.suggested_filename == "task_accuracy.csv"
    csv = escaping.from_csv(waiting.value.path().read_text())
    frame = table.read(trained / "tables" / "task_accuracy.parquet").frame
    assert csv["accuracy"].tolist() == frame["accuracy"].tolist()
    assert csv["configuration"].tolist() == frame["configuration"].tolist()


def test_printed_with_every_figure(opened, tmp_path):
    """Pictures take the place of what scripts draw, in folds that are closed too."""
    shown = opened()
    shown.emulate_media(media="print")
    pictures = shown.locator(".still svg")
    assert pictures.count() == shown.locator(".drawn").count()
    assert all(picture.bounding_box()["width"] > 100 for picture in pictures.all())
    assert not shown.locator(".plot").first.is_visible()
    pdf = tmp_path / "page.pdf"
    shown.pdf(path=pdf, format="A4")
    assert pdf.read_bytes().count(b"/Type /Page\n") + pdf.read_bytes().count(b"/Type /Page ") > 2


def csvs(text):
    """Every table that the page carries, by name, as a reader would load it."""
    found = {}
    links = re.findall(r'download="([\w.]+)" href="data:[\w/]+;base64,([^"]+)"', text)
    for name, data in links:
        raw = base64.b64decode(data)
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
        found[name.partition(".")[0]] = escaping.from_csv(raw.decode())
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """200 runs of seven configurations of LoRA and a prompt, over rates and seeds."""
    configs = [
        finished.lora(rank, seed, rate, **layers)
        for rank, rate, layers, seed in itertools.product(
            (1, 2, 4, 8, 16, 64),
            (3e-4, 1e-3, 3e-3),
            ({}, {"target_modules": "all_linear"}),
            range(5),
        )
    ] + [finished.plain("prompt_tuning", seed, num_virtual_tokens=20) for seed in range(20)]
    assert len(configs) == 200
    return finished.study(tmp_path_factory.mktemp("large"), configs, items=100)


@pytest.fixture(scope="module")
def large_page(large):
    return report.render([large])


def test_verdicts_can_be_recomputed_from_the_page(large, large_page):
    again = {one.claim: one for one in judge(csvs(large_page))}
    stored = {file.stem: table.read(file).frame for file in (large / "tables").glob("*.parquet")}
    given = [one for one in judge(stored) if one.outcome != "not measured"]
    assert {"rank", "clusters"} <= {one.claim for one in given}
    for one in given:
        assert again[one.claim] == one


def test_200_runs_are_one_small_page(large_page):
    assert len(large_page.encode()) < 8e6
    assert large_page.count('<figure class="drawn') == 24
    assert large_page.count("more figures than fit on a page") >= 1


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    configs = [finished.lora(rank, seed) for rank in (1, 2) for seed in (0, 1)]
    return finished.study(tmp_path_factory.mktemp("small"), configs)


def test_pages_may_share_plotly(trained, small, page, tmp_path, opened):
    """One file for both, from which the figures are drawn; nothing from anywhere else."""
    pages = [report.write(one, tmp_path / f"{n}.html", assets=True)
             for n, one in enumerate((trained, small))]  # fmt: skip
    (script,) = tmp_path.glob("*.js")
    assert script.name == report.PLOTLY
    assert pages[0].stat().st_size < page.stat().st_size - 3e6
    for written in pages:
        shown = opened(written)
        shown.locator(".drawn").first.scroll_into_view_if_needed()
        shown.locator(".live .main-svg").first.wait_for()
        assert shown.said == []
        names = {one.rpartition("/")[2] for one in shown.requests if one.startswith("file:")}
        assert names == {written.name, script.name}


def test_same_files_same_bytes(large, large_page, tmp_path):
    copy = shutil.copytree(large, tmp_path / "copy")
    assert report.render([copy]) == large_page


def test_several_studies_on_one_page(trained, small, tmp_path, opened):
    page = report.write([trained, small], tmp_path / "both.html")
    shown = opened(page)
    ids = shown.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    for link in shown.locator("nav a").all():
        assert shown.locator(str(link.get_attribute("href"))).count() == 1
    assert shown.locator("#s1-verdicts").count() == shown.locator("#s2-verdicts").count() == 1
    assert shown.said == []
    with pytest.raises(InputError, match="several studies needs --out"):
        report.write([trained, small])


def test_no_address_is_asked(page):
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert "showSendToCloud: false" in text


def test_what_is_not_there_is_said(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    index = json.loads((copy / "study.json").read_text())
    first, second, third, _ = index["runs"]
    shutil.rmtree(copy / "runs" / first)
    shutil.rmtree(copy / "runs" / second)
    (copy / "runs" / third / "metrics.jsonl").write_text("")
    (copy / "tables" / "forgetting.parquet").write_bytes(b"half")
    (copy / "failed").mkdir()
    record = {
        "what": "lora rank=1 seed=0",
        "summary": "RuntimeError: out of luck",
        "traceback": "T1",
    }
    (copy / "failed" / f"{second}.json").write_text(json.dumps(record))
    text = report.render([copy])
    assert "lora rank=1 seed=0: RuntimeError: out of luck" in text
    assert "T1" in text
    assert "frozen seed=0" in text[text.index("<h3>Not run") :]
    assert "metrics.jsonl is damaged" in text
    assert "forgetting.parquet is not a table of peftlens, or is damaged" in text


def test_a_study_without_runs_or_tables(tmp_path):
    folder = finished.study(tmp_path, [], probes=())
    text = report.render([folder])
    assert "No run has been measured yet" in text
    assert f"Not measured here: {len(registry.names('claims'))}</strong>" in text


def test_folder_that_is_no_study(tmp_path):
    with pytest.raises(InputError, match="holds no finished run and no study"):
        report.render([tmp_path])


def test_a_page_needs_a_folder(trained, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        report.write(trained, tmp_path / "no" / "page.html")


def test_reporting_imports_no_model_library(trained):
    code = (
        "import sys; from peftlens.reports import page\n"
        f"page.write({str(trained)!r}, {str(trained / 'other.html')!r})\n"
        "print(sorted(set(sys.modules) & {'torch', 'transformers', 'peft', 'umap'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["rank"], "rank"),
        (["lens: words"], "lens: words"),
        (["lens: words", "lens: headlines"], "lens: words and headlines"),
        (["lens: words", "lens: headlines", "lens: all"], "lens: words, headlines and all"),
        (["lens: words", "rank: words"], "lens: words and rank: words"),
        (["lens", "lens"], "lens and lens"),
    ],
)
def test_what_all_studies_are_about_is_said_once(names, title):
    assert report._title(names) == title


def test_studies_of_one_name_are_told_apart():
    """A question that was asked of several tasks is one study for each."""

    def of(task):
        run = SimpleNamespace(config=SimpleNamespace(base_model="minilm-l6", task=task))
        return SimpleNamespace(runs=(run,))

    results = [of("words"), of("news"), of("news"), SimpleNamespace(runs=())]
    names = report._told_apart(["rank", "rank", "other", "rank"], results)  # pyright: ignore
    assert names == ["rank: minilm-l6 on words", "rank: minilm-l6 on news", "other", "rank"]
    assert report._title(names[:2]) == "rank: minilm-l6 on words and minilm-l6 on news"

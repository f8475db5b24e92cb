"""The page, in a real Chromium with the network cut."""

import csv
import json
import shutil
import urllib.parse
from dataclasses import replace

import drawn
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from peftlens.explorer import page as explorer

HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}"
TOKENS = tuple(
    {7: HOSTILE, 8: "=cmd()", 9: "a<U+202E>b", 10: '"quoted"'}.get(n, f"␣word{n}")
    for n in range(500)
)


@pytest.fixture(scope="module")
def explorer_data():
    return drawn.explorer_data(tokens=TOKENS)


@pytest.fixture(scope="module")
def page(explorer_data, tmp_path_factory):
    return explorer.write(explorer_data, HOSTILE, tmp_path_factory.mktemp("page") / "explorer.html")


def started(playwright, *more):
    executable = shutil.which("chromium")
    assert executable, "these tests need Chromium: apt-get install chromium"
    options = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
               "--disable-background-networking", *more]  # fmt: skip
    return playwright.chromium.launch(executable_path=executable, args=options)


@pytest.fixture(scope="module")
def browsers():
    with sync_playwright() as playwright:
        found = {True: started(playwright), False: started(playwright, "--disable-3d-apis")}
        yield found
        for browser in found.values():
            browser.close()


def keep(said, message):
    """Errors and warnings, but for the software renderer's own on its speed."""
    if message.type in ("error", "warning") and "GPU stall" not in message.text:
        said.append(message.text)


@pytest.fixture
def opened(browsers, page):
    contexts = []

    def open_page(file=page, webgl=True, link="", **settings):
        settings = {"viewport": {"width": 1400, "height": 900}} | settings
        context = browsers[webgl].new_context(offline=True, **settings)
        contexts.append(context)
        shown = context.new_page()
        shown.said, shown.requests = [], []
        shown.on("console", lambda message: keep(shown.said, message))
        shown.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.on("request", lambda request: shown.requests.append(request.url))
        shown.goto(file.as_uri() + link)
        if settings.get("java_script_enabled", True):
            shown.wait_for_selector("body[data-drawn]")
        return shown

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_and_asks_for_nothing(opened, page, width, scheme):
    shown = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert shown.locator("#map-run canvas").count() >= 1
    assert shown.locator(".no-webgl").count() == 0  # Plotly's way to say that it could not
    assert shown.locator("#map-run .way").count() == 4
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.said == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [page.as_uri()]


def test_text_and_expressions_find_tokens(opened):
    shown = opened()
    shown.locator("#query").fill(" word12")
    expect(shown.locator("#count")).to_have_text("11 tokens")
    expect(shown.locator("#found button")).to_have_count(11)
    expect(shown.locator("#map-run .found")).to_have_count(11)
    shown.locator("#query").fill("/word[12]$/")
    expect(shown.locator("#count")).to_have_text("2 tokens")
    shown.locator("#query").fill("/(/")
    expect(shown.locator("#count")).to_have_text("This expression is invalid.")
    shown.locator("#query").fill("word")
    expect(shown.locator("#count")).to_have_text("496 tokens, the first 200 of them shown")
    assert shown.said == []


def test_a_token_says_what_it_is(opened, explorer_data):
    shown = opened()
    shown.locator("#query").fill("word123")
    shown.locator("#found button").first.click()
    chosen = shown.locator("#chosen").inner_text()
    assert "␣word123" in chosen
    assert (
        f"in the cluster cluster {explorer_data.cluster[123]}" in chosen
        or explorer_data.cluster[123] < 0
    )
    expect(shown.locator("#map-run .chosen")).to_have_count(1)


def test_a_vectors_neighbors_are_those_of_the_data(opened, explorer_data):
    shown = opened()
    shown.locator("#vectors button", has_text="2").click()
    rows = shown.locator("#chosen tbody tr").all()
    assert len(rows) == len(drawn.METRICS)
    for row, metric in zip(rows, drawn.METRICS, strict=True):
        ids, similarity = explorer_data.trails[0].near[metric]
        words = row.locator(".token").all_inner_texts()
        assert words == [TOKENS[token] for token in ids[-1, 2]]
        assert row.locator("td").last.inner_text() == f"{similarity[-1, 2, 0]:.4f}"
    expect(shown.locator("#map-run .near")).to_have_count(5)
    expect(shown.locator("#map-run .way.active")).to_have_count(1)


def test_a_mark_on_the_map_is_a_vector(opened):
    shown = opened()
    shown.locator("#map-run .way path.now").nth(1).click(force=True)
    expect(shown.locator("#vectors button[aria-pressed=true]")).to_have_text("1")


def test_the_slider_goes_back_to_the_start(opened, explorer_data):
    shown = opened()
    expect(shown.locator("#step-shown")).to_have_text("40")
    ways = shown.locator("#map-run .way polyline")
    assert len(str(ways.first.get_attribute("points")).split()) == 3
    shown.locator("#step").fill("0")
    expect(shown.locator("#step-shown")).to_have_text("0")
    assert len(str(ways.first.get_attribute("points")).split()) == 1
    first = TOKENS[explorer_data.trails[0].near["cosine"][0][0, 0, 0]]
    expect(shown.locator("#vectors tbody tr").first.locator(".token").first).to_have_text(first)


@pytest.mark.parametrize("color", ["cluster", "kind", "norm", "task"])
def test_colors(opened, color):
    shown = opened(link=f"#color={color}")
    marker = shown.evaluate("document.querySelector('#map-run .points').data[0].marker.color")
    assert len(set(marker.values() if isinstance(marker, dict) else marker)) > 5
    assert shown.said == []


def test_metrics_can_be_chosen(opened, explorer_data):
    shown = opened()
    shown.locator("#metric").select_option("csls")
    first = TOKENS[explorer_data.trails[0].near["csls"][0][-1, 0, 0]]
    expect(shown.locator("#vectors tbody tr").first.locator(".token").first).to_have_text(first)


def test_two_runs_side_by_side_look_at_the_same(opened):
    shown = opened()
    shown.locator("#pair").select_option("1")
    shown.wait_for_selector("body[data-drawn='run pair']")
    expect(shown.locator("#map-pair .way")).to_have_count(4)
    expect(shown.locator("#vectors h3")).to_have_count(2)
    axis = "document.querySelector('#map-{} .points')._fullLayout.xaxis.range.map(Math.round)"
    first = shown.evaluate(axis.format("run"))
    box = shown.locator("#map-run").bounding_box()
    shown.mouse.move(box["x"] + 200, box["y"] + 200)
    shown.mouse.wheel(0, -400)
    shown.wait_for_timeout(500)
    one, other = (shown.evaluate(axis.format(side)) for side in ("run", "pair"))
    assert one == other
    assert one[1] - one[0] < first[1] - first[0]  # it has come nearer
    assert shown.said == []


def emit(shown, event, ids):
    """As Plotly tells the page of the mouse."""
    points = json.dumps({"points": [{"pointIndex": n} for n in ids]})
    shown.evaluate(f"document.querySelector('#map-run .points').emit('{event}', {points})")


def test_hovering_in_one_shows_the_token_in_both(opened):
    shown = opened()
    shown.locator("#pair").select_option("1")
    shown.wait_for_selector("body[data-drawn='run pair']")
    emit(shown, "plotly_hover", [42])
    expect(shown.locator("#hover")).to_have_text(TOKENS[42])
    expect(shown.locator("#map-run .chosen")).to_have_count(1)
    expect(shown.locator("#map-pair .chosen")).to_have_count(1)


def test_raised_and_lowered_tokens_are_marked_and_listed(opened, explorer_data):
    shown = opened()
    assert shown.locator("#map-run .raised, #map-run .lowered").count() == 0
    shown.locator("#shift").select_option("0")
    expect(shown.locator("#map-run .raised")).to_have_count(3)
    expect(shown.locator("#map-run .lowered")).to_have_count(3)
    words = shown.locator("#shifted button").all_inner_texts()
    (one,) = explorer_data.shifts
    assert words == [TOKENS[token] for token, _ in (*one.raised, *one.lowered)]
    shown.locator("#shifted button").first.click()
    expect(shown.locator("#chosen h3")).to_contain_text(words[0])


@pytest.fixture(scope="module")
def inside():
    """Directions of an adapter, one of which has a hostile token, and a name."""
    (one, *more) = drawn.directions(HOSTILE, len(TOKENS)).points
    one = replace(one, name=HOSTILE, tokens=np.array([7, *one.tokens[1:]]))
    made = drawn.directions(HOSTILE, len(TOKENS), notes=(f"No {HOSTILE}.",))
    return replace(made, points=(one, *more))


@pytest.fixture(scope="module")
def inside_page(explorer_data, inside, tmp_path_factory):
    alone = replace(explorer_data, trails=(), shifts=(), directions=(inside,))
    return explorer.write(alone, "lora", tmp_path_factory.mktemp("inside") / "explorer.html")


def rows(shown):
    return [row.locator("td").all_inner_texts() for row in shown.locator("#vectors tbody tr").all()]


def expected_rows(inside, layer):
    return [
        [one.name, " ".join(TOKENS[token] for token in one.tokens), f"{one.values[0]:.2f}"]
        for one in inside.points
        if one.layer == layer
    ]


def test_layers_can_be_walked_through(opened, inside, inside_page):
    shown = opened(inside_page)
    expect(shown.locator("#step-name")).to_have_text("Layer")
    for step, layer in ((None, 3), (0, 1), (1, 2)):
        if step is not None:
            shown.locator("#step").fill(str(step))
        expect(shown.locator("#step-shown")).to_have_text(str(layer))
        assert [row[1:4] for row in rows(shown)] == expected_rows(inside, layer)
        here = [one for one in inside.points if one.layer == layer]
        for kind in ("difference", "writes", "reads"):
            count = sum(one.kind == kind for one in here)
            expect(shown.locator(f"#map-run .way path.{kind}")).to_have_count(count)
    assert [row[5] for row in rows(shown)] == ["–"] * 5  # q is known in the first layer alone
    shown.locator("#step").fill("0")
    assert [row[5] for row in rows(shown)] == ["0.030"] * 5
    assert shown.said == []


def test_a_direction_has_its_tokens_on_the_map_and_in_a_list(opened, inside, inside_page):
    shown = opened(inside_page, link="#step=1")
    shown.locator("#map-run .way path.reads").nth(1).click(force=True)
    (one,) = [one for one in inside.points if (one.layer, one.kind, one.rank) == (2, "reads", 1)]
    expect(shown.locator("#chosen h3")).to_have_text(f"{HOSTILE}, inside, layer 2: {one.name}")
    found = [row.locator("td").all_inner_texts() for row in shown.locator("#chosen tbody tr").all()]
    assert found == [
        [TOKENS[token], f"{value:.2f}"] for token, value in zip(one.tokens, one.values, strict=True)
    ]
    expect(shown.locator("#map-run .near")).to_have_count(10)
    labels = shown.locator("#map-run text").all_text_contents()
    assert labels == [TOKENS[token] for token in reversed(one.tokens)]
    expect(shown.locator("#vectors button[aria-pressed=true]")).to_have_text("reads 1−")
    shown.locator("#step").fill("2")  # where the adapter reads nothing
    expect(shown.locator("#chosen h3")).to_have_count(0)
    expect(shown.locator("#map-run .near")).to_have_count(0)
    assert shown.said == []


def test_tokens_are_colored_by_what_the_adapter_raises(opened, inside, inside_page):
    shown = opened(inside_page)
    expect(shown.locator("#scale")).to_be_hidden()
    shown.locator("#color").select_option("change0")
    limit = np.quantile(np.abs(inside.change), 0.999)
    expect(shown.locator("#scale")).to_contain_text(f"raised by {limit:.1f}")
    marker = shown.evaluate(
        "(({ color, cmin, cmax }) => ({ color: [...Object.values(color)], cmin, cmax }))"
        "(document.querySelector('#map-run .points').data[0].marker)"
    )
    middle, side = (marker["cmin"] + marker["cmax"]) / 2, (marker["cmax"] - marker["cmin"]) / 2
    shares = (np.array(marker["color"]) - middle) / side
    assert shares == pytest.approx(np.clip(inside.change / limit, -1, 1), abs=0.005)
    other = opened(inside_page, webgl=False, link="#color=change0")
    expect(other.locator("#scale")).to_be_visible()
    assert shown.said == other.said == []


def test_a_prompt_and_an_adapter_s_layers_side_by_side(opened, explorer_data, inside, tmp_path):
    data = replace(explorer_data, directions=(inside,))
    page = explorer.write(data, "both", tmp_path / "both.html")
    shown = opened(page, link="#pair=2")
    shown.wait_for_selector("body[data-drawn='run pair']")
    expect(shown.locator("#step-name")).to_have_text("Step")
    expect(shown.locator("#map-run .way")).to_have_count(4)
    expect(shown.locator("#map-pair .way")).to_have_count(1)  # the last layer
    shown.locator("#step").fill("0")
    expect(shown.locator("#map-pair .way")).to_have_count(5)
    assert shown.said == []


def test_hostile_directions_are_shown_literally(opened, inside_page):
    shown = opened(inside_page, link="#step=0&vector=0")
    assert HOSTILE in shown.locator("#vectors").inner_text()
    assert shown.locator("#chosen button").first.inner_text() == HOSTILE
    assert f"No {HOSTILE}." in shown.locator("#tables").inner_text()
    assert shown.locator("img").count() == 0
    without = opened(inside_page, java_script_enabled=False)
    cells = without.locator("#tables tbody tr").first.locator("td").all_text_contents()
    assert cells[:3] == ["1", "difference", HOSTILE]
    assert cells[3].startswith(HOSTILE)
    assert shown.said == []


def test_a_lasso_is_exported(opened):
    shown = opened()
    emit(shown, "plotly_selected", [7, 8, 10, 11])
    expect(shown.locator("#selection")).to_contain_text("4 tokens selected")
    with shown.expect_download() as waiting:
        shown.locator("#export").click()
    rows = list(csv.DictReader(waiting.value.path().read_text().splitlines()))
    assert [row["id"] for row in rows] == ["7", "8", "10", "11"]
    assert [row["token"] for row in rows] == [HOSTILE, "'=cmd()", '"quoted"', "␣word11"]


def test_a_link_brings_the_same_view(opened):
    shown = opened()
    shown.locator("#query").fill("word12")
    shown.locator("#pair").select_option("1")
    shown.locator("#step").fill("1")
    shown.locator("#metric").select_option("csls")
    shown.locator("#vectors button").nth(2).click()
    link = shown.evaluate("location.hash")
    given = urllib.parse.parse_qs(link.removeprefix("#"))
    assert given == {"query": ["word12"], "pair": ["1"], "step": ["1"], "metric": ["csls"],
                     "vector": ["2"]}  # fmt: skip
    other = opened(link=link)
    expect(other.locator("#query")).to_have_value("word12")
    expect(other.locator("#count")).to_have_text("11 tokens")
    expect(other.locator("#step-shown")).to_have_text("20")
    expect(other.locator("#map-pair .way")).to_have_count(4)
    expect(other.locator("#vectors button[aria-pressed=true]")).to_have_count(2)
    assert other.locator("#vectors").inner_text() == shown.locator("#vectors").inner_text()


def test_keys_are_enough(opened):
    shown = opened()
    shown.locator("#query").focus()
    shown.keyboard.type("word123")
    expect(shown.locator("#found button")).to_have_count(1)
    for _ in range(20):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.parentElement.id") == "found":
            break
    shown.keyboard.press("Enter")
    expect(shown.locator("#chosen h3")).to_contain_text("␣word123")
    shown.locator("#step").focus()
    shown.keyboard.press("ArrowLeft")
    expect(shown.locator("#step-shown")).to_have_text("20")


def test_without_webgl_the_map_is_a_picture_and_the_rest_works(opened):
    shown = opened(webgl=False)
    expect(shown.locator("#no-webgl")).to_be_visible()
    drawn_pixels = shown.evaluate(
        """() => {
            const canvas = document.querySelector('#map-run canvas');
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            return data.filter((value, n) => n % 4 === 3 && value > 0).length;
        }"""
    )
    assert drawn_pixels > 400
    shown.locator("#query").fill("word12")
    expect(shown.locator("#map-run .found")).to_have_count(11)
    shown.locator("#step").fill("0")
    expect(shown.locator("#step-shown")).to_have_text("0")
    assert shown.said == []


def test_without_javascript_the_tables_are_there(opened, explorer_data):
    shown = opened(java_script_enabled=False)
    assert "needs JavaScript" in shown.locator("noscript").inner_text()
    words = shown.locator("#tables tbody tr").first.locator(".token").all_text_contents()
    assert words == [TOKENS[token] for token in explorer_data.trails[0].near["cosine"][0][-1, 0]]


def test_tokens_are_shown_literally(opened):
    shown = opened()
    assert shown.locator("h1").inner_text() == HOSTILE
    shown.locator("#query").fill("onerror")
    expect(shown.locator("#found button")).to_have_text(HOSTILE)
    assert shown.locator("img").count() == 0
    assert shown.said == []


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(explorer_data, opened, tmp_path):
    page = tmp_path / "notebook.html"
    frame = explorer.Explorer(explorer.render(explorer_data, HOSTILE))._repr_html_()
    page.write_text(f"<!doctype html><body data-drawn>{frame}</body>")
    shown = opened(page)
    inside = shown.frame_locator("iframe")
    inside.locator("body[data-drawn]").wait_for()
    assert inside.locator("h1").inner_text() == HOSTILE
    inside.locator("#query").fill("word12")
    expect(inside.locator("#count")).to_have_text("11 tokens")


def test_same_arrays_same_bytes(explorer_data):
    assert explorer.render(explorer_data, "t") == explorer.render(explorer_data, "t")


def test_a_quarter_of_a_million_tokens_fit(opened, tmp_path):
    rng = np.random.default_rng(0)
    syllables = ["al", "ber", "con", "dra", "el", "fi", "gon", "ha", "il", "jo", "ka", "lum"]
    tokens = tuple("␣" + "".join(rng.choice(syllables, 3)) for _ in range(262_144))
    big = drawn.explorer_data(262_144, tokens=tokens, cluster=None)
    page = explorer.write(big, "large", tmp_path / "large.html")
    assert page.stat().st_size < 12e6
    shown = opened(page)
    shown.locator("#query").fill("albercon")
    count = sum("albercon" in token for token in tokens)
    expect(shown.locator("#count")).to_contain_text(f"{count:,} tokens")


def test_a_base_without_clusters_or_runs(opened, tmp_path):
    page = explorer.write(
        drawn.explorer_data(trails=(), shifts=(), cluster=None, task=None),
        "bare",
        tmp_path / "bare.html",
    )
    shown = opened(page)
    expect(shown.locator("#step")).to_be_hidden()
    shown.locator("#query").fill("word1")
    expect(shown.locator("#count")).to_contain_text("tokens")
    assert shown.said == []

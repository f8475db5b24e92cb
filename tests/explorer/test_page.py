"""The page and its side panel, in a real Chromium with the network cut."""

import urllib.parse
from dataclasses import replace

import drawn
import numpy as np
import pytest
from drawn import HOSTILE, TOKENS
from playwright.sync_api import expect

from peftlens.explorer import page as explorer


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_and_asks_for_nothing(opened, page, width, scheme):
    shown = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    expect(shown.locator("#map-run .way")).to_have_count(4)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    corner = shown.evaluate(
        "[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1).data]"
    )
    assert corner[:3] == ([255] * 3 if scheme == "light" else [0x16, 0x18, 0x1B])
    assert shown.said == []
    assert shown.requests == [page.as_uri()]


def test_its_policy_lets_no_code_be_made_from_text(page):
    text = page.read_text()
    (policy,) = [line for line in text.splitlines() if "Content-Security-Policy" in line]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy


def test_map_and_panel_are_in_the_first_screen(opened):
    shown = opened()
    for part in ("#map-run", "aside", "#legend", "#query", "#step", "#vectors li:first-child"):
        box = shown.locator(part).bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 900, part
    left, right = (shown.locator(part).bounding_box() for part in ("#map-run", "aside"))
    assert left["x"] + left["width"] <= right["x"]


def test_text_and_expressions_find_tokens(opened):
    shown = opened()
    shown.locator("#query").fill(" word12")
    expect(shown.locator("#count")).to_have_text("11 tokens")
    expect(shown.locator("#found button")).to_have_count(11)
    expect(shown.locator("#map-run circle.found")).to_have_count(11)
    labels = set(shown.locator("#map-run text.hit").all_text_contents())
    assert labels
    assert labels <= {TOKENS[n] for n in (12, *range(120, 130))}
    shown.locator("#query").fill("/word[12]$/")
    expect(shown.locator("#count")).to_have_text("2 tokens")
    shown.locator("#query").fill("/(/")
    expect(shown.locator("#count")).to_have_text("This expression is invalid.")
    shown.locator("#query").fill("word")
    expect(shown.locator("#count")).to_have_text("496 tokens, the first 200 of them labeled")
    assert shown.said == []


def colored(shown):
    """Number of pixels of the map with a color; dimmed points are nearly gray."""
    shown.wait_for_timeout(60)
    return shown.evaluate(
        """() => {
            const canvas = document.querySelector('#map-run canvas');
            const { width, height } = canvas;
            const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4) {
                const [r, g, b] = [data[at], data[at + 1], data[at + 2]];
                count += Math.max(r, g, b) - Math.min(r, g, b) > 80;
            }
            return count;
        }"""
    )


@pytest.mark.parametrize("webgl", [True, False])
def test_a_search_dims_the_rest(opened, webgl):
    shown = opened(webgl=webgl)
    before = colored(shown)
    shown.locator("#query").fill("word12")
    assert colored(shown) < 0.2 * before
    shown.locator("#query").fill("")
    assert colored(shown) == before


def test_enter_flies_from_hit_to_hit(opened, explorer_data):
    shown = opened()
    shown.locator("#query").fill("word12")
    places = explorer_data.scaled(explorer_data.points)
    for key, token in (("Enter", 12), ("Enter", 120), ("Shift+Enter", 12)):
        shown.locator("#query").press(key)
        expect(shown.locator("#chosen h2")).to_have_text(f"Token {TOKENS[token]}")
        shown.wait_for_timeout(80)
        zoom, *center = map(float, shown.locator("#map-run").get_attribute("data-view").split(","))
        assert zoom >= 8
        assert center == pytest.approx(places[token], abs=1)


def expected_neighbors(data, token):
    """Token texts and cosines of the nearest, from the pairs."""
    pairs = data.neighbors
    mine = (pairs.low == token) | (pairs.high == token)
    others = np.where(pairs.low == token, pairs.high, pairs.low)[mine]
    order = np.lexsort((others, -pairs.cosine[mine]))[: pairs.k]
    return [TOKENS[one] for one in others[order]], pairs.cosine[mine][order]


def test_a_token_has_its_neighbors_each_of_which_has_its_own(opened, explorer_data):
    shown = opened(link="#token=123")
    names = shown.locator("#chosen .bars .token")
    words, cosines = expected_neighbors(explorer_data, 123)
    expect(names).to_have_text(words)
    shownvalues = [float(one) for one in shown.locator("#chosen .value").all_text_contents()]
    assert shownvalues == pytest.approx(cosines, abs=6e-4)
    widths = [one.bounding_box()["width"] for one in shown.locator("#chosen .bar").all()]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] / widths[0] == pytest.approx(cosines[-1] / cosines[0], abs=0.03)
    expect(shown.locator("#map-run circle.near")).to_have_count(8)
    other = TOKENS.index(words[2])
    names.nth(2).click()
    expect(shown.locator("#chosen h2")).to_have_text(f"Token {words[2]}")
    expect(names).to_have_text(expected_neighbors(explorer_data, other)[0])
    assert shown.said == []


def test_a_token_says_what_it_is(opened, explorer_data):
    shown = opened(link="#token=123")
    facts = shown.locator("#chosen dd").all_inner_texts()
    share = np.mean(explorer_data.norm < explorer_data.norm[123])
    assert facts[0] == "123"
    assert facts[2] == f"cluster {explorer_data.cluster[123]}"
    assert f"longer than {share * 100:.0f} %" in facts[3]
    cosine = round(255 * explorer_data.task[123]) / 255
    assert facts[4] == f"cosine {cosine:.2f} to the nearest label"
    shown.locator("#chosen button.plain").click()
    expect(shown.locator("#group")).to_contain_text(facts[2])


def test_a_vector_says_what_it_is(opened, explorer_data):
    shown = opened()
    shown.locator("#vectors button", has_text="2").click()
    (trail, _) = explorer_data.trails
    expect(shown.locator("#chosen h2")).to_have_text("one, vector 2, step 40")
    expect(shown.locator("#chosen .verdict")).to_have_text("readable, q 0.010")
    assert f"{trail.displacement[-1, 2]:.2f} of the start" in shown.locator("#chosen").inner_text()
    assert "start2" in shown.locator("#chosen").inner_text()
    for metric in drawn.METRICS:
        shown.locator("#metric").select_option(metric)
        ids, similarity = trail.near[metric]
        expect(shown.locator("#chosen .bars .token")).to_have_text([TOKENS[n] for n in ids[-1, 2]])
        values = shown.locator("#chosen .bars .value").all_text_contents()
        assert values == [f"{one:.3f}" for one in np.round(similarity[-1, 2], 4)]
    expect(shown.locator("#map-run circle.near")).to_have_count(5)
    expect(shown.locator("#map-run .way.active")).to_have_count(1)


def test_vectors_carry_their_number_and_can_be_clicked(opened):
    shown = opened()
    assert sorted(shown.locator("#map-run text.number").all_text_contents()) == list("0123")
    shown.locator("#map-run .mark.now", has_text="1").first.click(force=True)
    expect(shown.locator("#vectors button[aria-pressed=true]")).to_have_text("1")


def test_the_slider_goes_back_to_the_start(opened, explorer_data):
    shown = opened()
    expect(shown.locator("#step-shown")).to_have_text("40")
    ways = shown.locator("#map-run .way polyline")
    assert len(str(ways.first.get_attribute("points")).split()) == 3
    shown.locator("#step").fill("0")
    expect(shown.locator("#step-shown")).to_have_text("0")
    expect(shown.locator("#vectors h2")).to_contain_text("step 0")
    shown.wait_for_timeout(60)
    assert len(str(ways.first.get_attribute("points")).split()) == 1
    first = TOKENS[explorer_data.trails[0].near["cosine"][0][0, 0, 0]]
    expect(shown.locator("#vectors li").first.locator(".token").first).to_have_text(first)


def test_play_goes_through_the_steps_and_ends(opened):
    shown = opened()
    shown.locator("#play").click()
    expect(shown.locator("#step-shown")).to_have_text("0")  # it begins anew from the end
    expect(shown.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(shown.locator("#step-shown")).to_have_text("20")
    expect(shown.locator("#step-shown")).to_have_text("40")
    expect(shown.locator("#play")).to_have_attribute("aria-label", "Play")
    shown.locator("#play").click()
    shown.locator("#play").click()
    shown.wait_for_timeout(1200)
    expect(shown.locator("#step-shown")).to_have_text("0")  # it was paused


def test_each_color_has_its_legend(opened, explorer_data):
    shown = opened()
    legend = shown.locator("#legend")
    counts = np.bincount(explorer_data.kind, minlength=7)
    expect(legend.locator(".count")).to_have_text([str(one) for one in counts])
    shown.locator("#color").select_option("norm")
    low, high = np.quantile(explorer_data.norm, [0.01, 0.99])
    ticks = [float(one) for one in legend.locator(".ticks span").all_text_contents()]
    assert ticks == pytest.approx([low, (low + high) / 2, high], abs=0.011)
    shown.locator("#color").select_option("task")
    expect(legend).to_contain_text("highest cosine to a label")
    shown.locator("#color").select_option("cluster")
    expect(legend).to_contain_text("30 clusters share 12 colors")
    assert shown.said == []


def test_a_kind_can_be_shown_alone(opened):
    shown = opened()
    before = colored(shown)
    shown.locator("#legend button", has_text="digits").click()
    expect(shown.locator("#group")).to_have_text("Only digits ×")
    assert colored(shown) < 0.6 * before
    shown.locator("#legend button", has_text="digits").click()
    expect(shown.locator("#group")).to_be_hidden()


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
    expect(shown.locator("#chosen h2")).to_contain_text(words[0])


def test_a_link_brings_the_same_view(opened):
    shown = opened()
    shown.locator("#query").fill("word12")
    shown.locator("#pair").select_option("1")
    shown.locator("#step").fill("1")
    shown.locator("#metric").select_option("csls")
    shown.locator("#legend button", has_text="digits").click()
    shown.locator("#space-3").click()
    shown.locator("#vectors button").nth(2).click()
    shown.locator("#map-run").focus()
    shown.keyboard.press("+")
    shown.keyboard.press("ArrowLeft")
    shown.wait_for_timeout(400)
    link = shown.evaluate("location.hash")
    given = urllib.parse.parse_qs(link.removeprefix("#"))
    view = given.pop("view")
    assert view == [shown.locator("#map-run").get_attribute("data-view")]
    assert given == {"query": ["word12"], "pair": ["1"], "step": ["1"], "metric": ["csls"],
                     "vector": ["2"], "group": ["kind:2"], "space": ["3"]}  # fmt: skip
    other = opened(link=link)
    expect(other.locator("#query")).to_have_value("word12")
    expect(other.locator("#count")).to_have_text("11 tokens")
    expect(other.locator("#step-shown")).to_have_text("20")
    expect(other.locator("#map-pair .way")).to_have_count(4)
    expect(other.locator("#group")).to_have_text("Only digits ×")
    expect(other.locator("#vectors button[aria-pressed=true]")).to_have_count(2)
    assert other.locator("#map-run").get_attribute("data-view") == view[0]
    assert other.locator("aside").inner_text() == shown.locator("aside").inner_text()


def test_a_link_to_nowhere_shows_the_map(opened):
    odd = "#view=a,b,c&space=7&group=kind:99&color=nothing&step=9e9&metric=x&token=501&run=8&pair=y"
    shown = opened(link=odd + "&vector=4&shift=2")
    expect(shown.locator("#map-run .way")).to_have_count(4)
    expect(shown.locator("#step-shown")).to_have_text("40")
    assert shown.locator("#map-run").get_attribute("data-view").startswith("1.000,")
    assert shown.said == []


def test_keys_are_enough(opened):
    shown = opened()
    shown.keyboard.press("/")
    shown.keyboard.type("word123")
    expect(shown.locator("#found button")).to_have_count(1)
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    expect(shown.locator("#chosen h2")).to_contain_text("␣word123")
    for count in (0, 0, 1):  # Escape undoes the selection, then the search
        expect(shown.locator("#query")).to_have_value("" if count else "word123")
        shown.keyboard.press("Escape")
    shown.locator("#map-run").focus()
    shown.keyboard.press("[")
    expect(shown.locator("#step-shown")).to_have_text("20")
    shown.keyboard.press("v")
    expect(shown.locator("#chosen h2")).to_contain_text("vector 0")
    shown.keyboard.press("V")
    expect(shown.locator("#chosen h2")).to_contain_text("vector 3")
    shown.keyboard.press("p")
    expect(shown.locator("#play")).to_have_attribute("aria-label", "Pause")


def test_without_javascript_the_tables_are_there(opened, explorer_data):
    shown = opened(java_script_enabled=False)
    assert "needs JavaScript" in shown.locator("noscript").inner_text()
    words = shown.locator("#tables tbody tr").first.locator(".token").all_text_contents()
    assert words == [TOKENS[token] for token in explorer_data.trails[0].near["cosine"][0][-1, 0]]
    expect(shown.locator("#screen")).to_be_hidden()


def test_tokens_are_shown_literally(opened):
    shown = opened()
    assert shown.locator("h1").first.inner_text() == HOSTILE
    shown.locator("#query").fill("onerror")
    expect(shown.locator("#found button")).to_have_text(HOSTILE)
    shown.keyboard.press("Enter")
    expect(shown.locator("#chosen h2")).to_have_text(f"Token {HOSTILE}")
    assert shown.locator("img").count() == 0
    assert shown.said == []


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(explorer_data, opened, tmp_path):
    page = tmp_path / "notebook.html"
    frame = explorer.Explorer(explorer.render(explorer_data, HOSTILE))._repr_html_()
    page.write_text(f"<!doctype html><body data-drawn>{frame}</body>")
    shown = opened(page)
    inside = shown.frame_locator("iframe")
    inside.locator("body[data-drawn]").wait_for()
    assert inside.locator("h1").first.inner_text() == HOSTILE
    inside.locator("#query").fill("word12")
    expect(inside.locator("#count")).to_have_text("11 tokens")


def test_same_arrays_same_bytes(explorer_data):
    assert explorer.render(explorer_data, "t") == explorer.render(explorer_data, "t")


def test_a_base_without_clusters_or_runs(opened, tmp_path):
    bare = drawn.explorer_data(
        trails=(), shifts=(), cluster=None, task=None, space=None, neighbors=None
    )
    shown = opened(explorer.write(bare, "bare", tmp_path / "bare.html"), link="#token=3")
    expect(shown.locator("#step")).to_be_hidden()
    expect(shown.locator("#space-3")).to_have_count(0)
    expect(shown.locator("#chosen")).to_contain_text("peftlens explore --serve")
    shown.locator("#query").fill("word1")
    expect(shown.locator("#count")).to_contain_text("tokens")
    assert shown.said == []


@pytest.mark.parametrize("metric", drawn.METRICS)
def test_a_metric_that_is_not_kept_is_told(opened, explorer_data, tmp_path, metric):
    kept = replace(explorer_data, neighbors=drawn.neighbors(500, 3, ("cosine",)))
    shown = opened(explorer.write(kept, "t", tmp_path / "t.html"), link=f"#token=3&metric={metric}")
    if metric == "cosine":
        expect(shown.locator("#chosen .bars li")).to_have_count(3)
    else:
        expect(shown.locator("#chosen")).to_contain_text("keeps the neighbors by cosine")

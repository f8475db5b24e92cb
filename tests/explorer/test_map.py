"""Gestures on the map, in a real Chromium with the network cut."""

import csv
import math

import numpy as np
import pytest
from drawn import TOKENS
from playwright.sync_api import expect

MAP = "#map-run"


def view(shown, side="run"):
    """Zoom, center and angles of a map's camera."""
    text = shown.locator(f"#map-{side}").get_attribute("data-view")
    return [float(one) for one in text.split(",")]


def await_view(shown, condition):
    """Wait until the state of a camera fulfills a condition; the page evaluates no text."""
    for _ in range(100):
        if condition(view(shown)):
            return
        shown.wait_for_timeout(50)
    raise AssertionError(view(shown))


def box(shown, side="run"):
    return shown.locator(f"#map-{side}").bounding_box()


def place_of(shown, data, token):
    """Where a token is on the screen, from the view that the page states."""
    zoom, *center = view(shown)[:3]
    inner = box(shown)
    spread = [
        np.quantile(part, [0.001, 0.999], method="nearest") for part in data.scaled(data.points).T
    ]
    sides = [high - low for low, high in spread]
    scale = zoom * 0.94 * min(inner["width"] / sides[0], inner["height"] / sides[1])
    x, y = data.scaled(data.points)[token]
    return (
        inner["x"] + inner["width"] / 2 + scale * (x - center[0]),
        inner["y"] + inner["height"] / 2 - scale * (y - center[1]),
    )


def free_token(data):
    """A token far from the others and from marks: that with the farthest nearest one."""
    points = data.scaled(data.points)
    inner = [n for n, one in enumerate(points) if 12_000 < one[0] < 52_000 and one[1] > 12_000]
    taken = np.concatenate([points, *(data.scaled(one.xy).reshape(-1, 2) for one in data.trails)])
    far = [np.sort(np.hypot(*(taken - points[n]).T))[1] for n in inner]
    return inner[int(np.argmax(far))]


@pytest.fixture
def token(explorer_data):
    return free_token(explorer_data)


@pytest.mark.parametrize("webgl", [True, False])
def test_the_tooltip_is_at_the_pointer(opened, explorer_data, token, webgl):
    shown = opened(webgl=webgl)
    left, top = place_of(shown, explorer_data, token)
    shown.mouse.move(left + 2, top)
    tip = shown.locator(f"{MAP} .tip")
    expect(tip).to_contain_text(TOKENS[token])
    at = tip.bounding_box()
    assert abs(at["x"] - left) < 30 + at["width"]
    assert abs(at["y"] - top) < 40
    expect(shown.locator(f"{MAP} .chosen")).to_have_count(1)
    inner = box(shown)
    shown.mouse.move(inner["x"] + 3, inner["y"] + 3)
    expect(tip).to_be_hidden()
    assert shown.said == []


@pytest.mark.parametrize("webgl", [True, False])
def test_a_click_selects_the_token_there(opened, explorer_data, token, webgl):
    shown = opened(webgl=webgl)
    shown.mouse.click(*place_of(shown, explorer_data, token))
    expect(shown.locator("#chosen h2")).to_have_text(f"Token {TOKENS[token]}")
    inner = box(shown)
    shown.mouse.click(inner["x"] + 3, inner["y"] + 3)  # on nothing
    expect(shown.locator("#chosen h2")).to_have_count(0)


def test_dragging_moves_the_map_with_the_pointer(opened, explorer_data, token):
    shown = opened()
    left, top = place_of(shown, explorer_data, token)
    shown.mouse.move(left, top)
    shown.mouse.down()
    shown.mouse.move(left + 60, top + 40, steps=4)
    shown.mouse.up()
    expect(shown.locator("#chosen h2")).to_have_count(0)  # it was no click
    assert place_of(shown, explorer_data, token) == pytest.approx((left + 60, top + 40), abs=5)


def test_the_wheel_zooms_where_the_pointer_is(opened, explorer_data, token):
    shown = opened()
    left, top = place_of(shown, explorer_data, token)
    shown.mouse.move(left, top)
    shown.mouse.wheel(0, -300)
    await_view(shown, lambda now: now[0] > 1.5)
    assert place_of(shown, explorer_data, token) == pytest.approx((left, top), abs=2)
    shown.locator("#reset").click()
    await_view(shown, lambda now: now[0] == 1)


def test_both_axes_have_one_scale(opened, explorer_data):
    shown = opened(viewport={"width": 1400, "height": 560})
    ids = [int(n) for n in np.argsort(explorer_data.points[:, 0])[[60, 440]]]
    seen = []
    for token in ids:  # by the places of the page's own marks
        shown.evaluate(f"location.hash = 'token={token}'")
        shown.reload()
        shown.wait_for_selector("body[data-drawn]")
        mark = shown.locator(f"{MAP} .chosen")
        seen.append([float(mark.get_attribute(name)) for name in ("cx", "cy")])
    real = explorer_data.scaled(explorer_data.points)[ids]
    (dx, dy), (x, y) = np.abs(np.diff(seen, axis=0)[0]), np.abs(np.diff(real, axis=0)[0])
    assert dx / x == pytest.approx(dy / y, rel=0.02)


def test_names_of_clusters_do_not_overlap_and_grow_in_number(opened):
    shown = opened()

    def names():
        return shown.evaluate(
            """() => [...document.querySelectorAll('#map-run text:not(.number)')].map((one) => {
                const { left, top, right, bottom } = one.getBoundingClientRect();
                return [one.textContent, left, top + 2, right, bottom - 2, one.classList.value];
            })"""
        )

    first = names()
    clusters = [one for one in first if one[5] == "cluster"]
    assert 3 <= len(clusters) < 30
    shown.locator(MAP).focus()
    for _ in range(7):
        shown.keyboard.press("+")
    await_view(shown, lambda now: now[0] > 10)
    later = names()
    assert len(later) > len(first)
    assert "any" in {one[5] for one in later}  # few tokens in view have all their labels
    for labels in (first, later):
        for n, one in enumerate(labels):
            for other in labels[:n]:
                across = one[1] < other[3] and other[1] < one[3]
                assert not (across and one[2] < other[4] and other[2] < one[4]), (one, other)


def test_pointing_at_a_cluster_s_name_leaves_it_there(opened):
    """A token under the name, whose own name would take its place, is not pointed at."""
    shown = opened()
    label = shown.locator(f"{MAP} text.cluster").first
    name, box = label.text_content(), label.bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.mouse.down()
    shown.evaluate("() => new Promise((done) => setTimeout(done, 200))")
    shown.mouse.up()
    expect(shown.locator("#group")).to_have_text(f"Only the cluster {name} ×")


def test_a_cluster_s_name_shows_it_alone(opened):
    shown = opened()
    before = opaque(shown)
    label = shown.locator(f"{MAP} text.cluster").first
    name = label.text_content()
    label.click(force=True)
    expect(shown.locator("#group")).to_have_text(f"Only the cluster {name} ×")
    assert opaque(shown) < 0.6 * before
    shown.locator("#group").click()
    expect(shown.locator("#group")).to_be_hidden()
    assert opaque(shown) == before


def opaque(shown, side="run"):
    """Number of pixels that differ clearly from the background."""
    shown.wait_for_timeout(60)
    return shown.evaluate(
        f"""() => {{
            const canvas = document.querySelector('#map-{side} canvas');
            const {{ width, height }} = canvas;
            const {{ data }} = canvas.getContext('2d').getImageData(0, 0, width, height);
            const far = (at) => Math.abs(data[at] - data[at % 4]); // the corner is empty
            let count = 0;
            for (let at = 0; at < data.length; at += 4) {{
                count += far(at) + far(at + 1) + far(at + 2) > 90;
            }}
            return count;
        }}"""
    )


def test_a_lasso_is_exported(opened, explorer_data):
    shown = opened()
    shown.locator("#lasso").click()
    inner = box(shown)
    middle = inner["x"] + inner["width"] / 2
    corners = [(middle, 5), (middle, inner["height"] - 5), (inner["x"] + 5, inner["height"] - 5),
               (inner["x"] + 5, 5)]  # fmt: skip
    shown.mouse.move(middle, inner["y"] + 5)
    shown.mouse.down()
    for left, top in corners[1:]:
        shown.mouse.move(left, inner["y"] + top, steps=3)
    shown.mouse.up()
    expected = [
        n for n in range(len(TOKENS))
        if inner["x"] + 5 < (at := place_of(shown, explorer_data, n))[0] < middle
        and inner["y"] + 5 < at[1] < inner["y"] + inner["height"] - 5
    ]  # fmt: skip
    with shown.expect_download() as waiting:
        shown.locator("#export").click()
    rows = list(csv.DictReader(waiting.value.path().read_text().splitlines()))
    found = [int(row["id"]) for row in rows]
    assert len(set(found) ^ set(expected)) <= 3  # tokens on the line
    assert len(found) > 50
    expect(shown.locator("#selection")).to_contain_text(f"{len(found)} tokens selected")
    named = {int(row["id"]): row["token"] for row in rows}
    literal = {7: TOKENS[7], 8: "'=cmd()", 10: '"quoted"'}
    assert all(named[n] == literal.get(n, TOKENS[n]) for n in found)
    shown.keyboard.press("Escape")
    expect(shown.locator("#selection")).to_have_text("")
    expect(shown.locator("#export")).to_be_hidden()


def test_two_maps_look_at_the_same(opened, explorer_data, token):
    shown = opened(link="#pair=1")
    expect(shown.locator("#map-pair .way")).to_have_count(4)
    inner = box(shown, "pair")
    shown.mouse.move(inner["x"] + 200, inner["y"] + 200)
    shown.mouse.wheel(0, -400)
    await_view(shown, lambda now: now[0] > 1.5)
    assert view(shown) == view(shown, "pair")
    shown.locator("#reset").click()
    await_view(shown, lambda now: now[0] == 1)
    shown.mouse.move(*place_of(shown, explorer_data, token))
    for side in ("run", "pair"):  # hovering in one marks the token in both
        expect(shown.locator(f"#map-{side} .chosen")).to_have_count(1)


def test_a_run_beside_its_own_start(opened):
    shown = opened(link="#pair=start")
    expect(shown.locator("#map-pair .way")).to_have_count(4)
    points = "polyline => polyline.getAttribute('points').split(' ').length"
    assert shown.locator("#map-run .way polyline").first.evaluate(points) == 3
    assert shown.locator("#map-pair .way polyline").first.evaluate(points) == 1
    heads = ["one, step 40: readable", "one, step 0: readable"]
    expect(shown.locator("#vectors h2")).to_have_text(heads)


@pytest.mark.parametrize("webgl", [True, False])
def test_space_can_be_turned(opened, webgl):
    shown = opened(webgl=webgl)
    shown.locator("#space-3").click()
    await_view(shown, lambda now: len(now) == 6)
    before, pixels = view(shown), opaque(shown)
    assert pixels > 400
    inner = box(shown)
    shown.mouse.move(inner["x"] + 300, inner["y"] + 300)
    shown.mouse.down()
    shown.mouse.move(inner["x"] + 400, inner["y"] + 330, steps=4)
    shown.mouse.up()
    shown.wait_for_timeout(60)
    after = view(shown)
    assert after[:4] == before[:4]
    assert after[4] - before[4] == pytest.approx(0.8, abs=0.1)
    assert after[5] > before[5]
    expect(shown.locator(f"{MAP} .way")).to_have_count(4)
    shown.locator("#space-2").click()
    await_view(shown, lambda now: len(now) == 3)
    assert shown.said == []


def test_keys_move_zoom_and_turn(opened):
    shown = opened()
    shown.locator(MAP).focus()
    start = view(shown)

    def press(key):
        shown.keyboard.press(key)
        shown.wait_for_timeout(60)
        return view(shown)

    assert press("ArrowRight")[1] > start[1]
    assert press("ArrowUp")[2] > start[2]
    assert press("+")[0] == pytest.approx(1.4)
    assert press("-")[0] == pytest.approx(1)
    assert press("0") == start
    assert len(press("3")) == 6
    turned = view(shown)
    assert press("ArrowLeft")[4] != turned[4]
    assert len(press("2")) == 3
    press("l")
    expect(shown.locator("#lasso")).to_have_attribute("aria-pressed", "true")
    press("Escape")
    expect(shown.locator("#lasso")).to_have_attribute("aria-pressed", "false")


def test_two_fingers_zoom(opened):
    shown = opened()
    shown.evaluate(
        """() => {
            const map = document.querySelector('#map-run');
            const { left, top } = map.getBoundingClientRect();
            map.setPointerCapture = () => {};
            const send = (kind, id, x, y) => map.dispatchEvent(new PointerEvent(kind,
                { pointerId: id, clientX: left + x, clientY: top + y, bubbles: true, button: 0 }));
            send("pointerdown", 1, 200, 200);
            send("pointerdown", 2, 300, 200);
            send("pointermove", 2, 400, 200);
            send("pointerup", 1, 200, 200);
            send("pointerup", 2, 400, 200);
        }"""
    )
    shown.wait_for_timeout(60)
    assert view(shown)[0] == pytest.approx(2, rel=0.01)


def test_a_flight_ends_at_the_token(opened, explorer_data):
    shown = opened(reduced_motion="no-preference")
    shown.locator("#query").fill("word123")
    shown.keyboard.press("Enter")
    x, y = explorer_data.scaled(explorer_data.points)[123]
    await_view(shown, lambda now: now[0] >= 8)
    _, left, up = view(shown)
    assert math.hypot(left - x, up - y) < 3

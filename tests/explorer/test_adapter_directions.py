"""Directions of an adapter on the page, in a real Chromium."""

from dataclasses import replace

import drawn
import numpy as np
import pytest
from drawn import HOSTILE, TOKENS
from playwright.sync_api import expect

from peftlens.explorer import page as explorer


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
    return [
        [row.locator(".words").inner_text(), row.locator(".value").inner_text(),
         row.locator(".note").inner_text()]
        for row in shown.locator("#vectors li").all()
    ]  # fmt: skip


def expected_rows(inside, layer):
    return [
        [" ".join(TOKENS[token] for token in one.tokens[:5]), f"{one.values[0]:.2f}",
         one.name + (f", q {one.q:.3f}" if one.q else "")]
        for one in inside.points
        if one.layer == layer
    ]  # fmt: skip


def test_layers_can_be_walked_through(opened, inside, inside_page):
    shown = opened(inside_page)
    expect(shown.locator("#step-name")).to_have_text("Layer")
    for step, layer in ((None, 3), (0, 1), (1, 2)):
        if step is not None:
            shown.locator("#step").fill(str(step))
        expect(shown.locator("#step-shown")).to_have_text(str(layer))
        assert rows(shown) == expected_rows(inside, layer)  # q is known in the first layer alone
        here = [one for one in inside.points if one.layer == layer]
        for kind in ("difference", "writes", "reads"):
            count = sum(one.kind == kind for one in here)
            expect(shown.locator(f"#map-run .way path.{kind}")).to_have_count(count)
    assert shown.said == []


def test_a_direction_has_its_tokens_on_the_map_and_in_a_list(opened, inside, inside_page):
    shown = opened(inside_page, link="#step=1")
    for kind in ("pointerdown", "pointerup"):  # marks may lie on each other
        shown.locator("#map-run .mark.reads").nth(1).dispatch_event(kind)
    (one,) = [one for one in inside.points if (one.layer, one.kind, one.rank) == (2, "reads", 1)]
    expect(shown.locator("#chosen h2")).to_have_text(f"{HOSTILE}, inside, layer 2: {one.name}")
    expect(shown.locator("#chosen .bars .token")).to_have_text([TOKENS[n] for n in one.tokens])
    values = shown.locator("#chosen .bars .value").all_text_contents()
    assert [float(value) for value in values] == pytest.approx(one.values, abs=0.006)
    expect(shown.locator("#map-run circle.near")).to_have_count(10)
    labels = set(shown.locator("#map-run text.nearest").all_text_contents())
    assert labels
    assert labels <= {TOKENS[token] for token in one.tokens}
    expect(shown.locator("#vectors button[aria-pressed=true]")).to_have_text("reads 1−")
    shown.locator("#step").fill("2")  # where the adapter reads nothing
    expect(shown.locator("#chosen h2")).to_have_count(0)
    expect(shown.locator("#map-run circle.near")).to_have_count(0)
    assert shown.said == []


@pytest.mark.parametrize("webgl", [True, False])
def test_tokens_are_colored_by_what_the_adapter_raises(opened, inside, inside_page, webgl):
    shown = opened(inside_page, webgl=webgl)
    shown.locator("#color").select_option("change0")
    limit = np.quantile(np.abs(inside.change), 0.999)
    expect(shown.locator("#legend .ticks span")).to_have_text(
        [f"{-limit:.2f}", "0.00", f"{limit:.2f}"]
    )
    assert shown.said == []


def test_a_prompt_and_an_adapter_s_layers_side_by_side(opened, explorer_data, inside, tmp_path):
    data = replace(explorer_data, directions=(inside,))
    shown = opened(explorer.write(data, "both", tmp_path / "both.html"), link="#pair=2")
    expect(shown.locator("#step-name")).to_have_text("Step")
    expect(shown.locator("#map-run .way")).to_have_count(4)
    expect(shown.locator("#map-pair .way")).to_have_count(1)  # the last layer
    shown.locator("#step").fill("0")
    expect(shown.locator("#map-pair .way")).to_have_count(5)
    expect(shown.locator("#inside")).to_contain_text("Any direction raises some words")
    shown.locator("#pair").select_option("")
    expect(shown.locator("#inside")).to_be_hidden()
    assert shown.said == []


def test_directions_have_places_in_space(opened, inside_page):
    shown = opened(inside_page, link="#space=3&step=0")
    expect(shown.locator("#map-run .mark")).to_have_count(5)
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

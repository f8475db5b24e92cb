"""The page's first screen and its tables, in a real Chromium with the network cut."""

import re

import finished
import pytest
from drawings import open_folds
from playwright.sync_api import expect

from peftlens.reports import page as report
from peftlens.results.untrained import write_untrained


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Page of a study of four ranks, full fine-tuning and the base, over two seeds."""
    configs = [finished.lora(rank, seed) for rank in (1, 2, 4, 8) for seed in (0, 1)]
    folder = tmp_path_factory.mktemp("ranks")
    others = [finished.plain(method, seed) for method in ("frozen", "full") for seed in (0, 1)]
    finished.study(folder, [*configs, *others])
    return report.write(folder)


def column(shown, place):
    return shown.locator(f"#results tbody tr:visible > :nth-child({place})").all_inner_texts()


def test_the_first_screen_says_what_was_studied_and_what_was_found(open_page, ranks):
    shown = open_page(ranks, viewport={"width": 1400, "height": 900})
    for part in ("h1", ".subject", ".cards", "#verdicts h2", "#results thead"):
        box = shown.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900, part
    subject = shown.locator(".subject").inner_text()
    assert all(word in subject for word in ("smollm2-135m", "bbc_topic", "LoRA", "2 (0 and 1)"))
    cards = shown.locator(".cards h2").all_inner_texts()
    assert cards == ["Best accuracy", "Fewest parameters within 1 point", "Forgetting of the best",
                     "Common claims decided"]  # fmt: skip
    assert "Before training: " in shown.locator(".cards li").first.inner_text()


def test_a_click_on_a_head_sorts_and_a_second_one_turns_around(open_page, ranks):
    shown = open_page(ranks)
    head = shown.locator("#results th", has_text="trainable parameters")
    place = 1 + [*map(str.strip, shown.locator("#results th[scope=col]").all_inner_texts())].index(
        "trainable parameters"
    )
    by_accuracy = column(shown, 1)
    head.locator("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")  # fewer are better
    sizes = column(shown, place)
    assert sizes[2:] == ["57.6k", "115k", "230k", "461k"]
    head.locator("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert column(shown, place) == sizes[::-1]
    expect(shown.locator("#results th[aria-sort]")).to_have_count(1)
    assert sorted(column(shown, 1)) == sorted(by_accuracy)
    assert shown.said == []


def test_the_keyboard_sorts_too(open_page, ranks):
    shown = open_page(ranks)
    head = shown.locator("#results th", has_text="accuracy (%)").first
    expect(head).to_have_attribute("aria-sort", "descending")
    head.locator("button").focus()
    shown.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    accuracies = [float(text.split()[0]) for text in column(shown, 2)]
    assert accuracies == sorted(accuracies)


def test_missing_values_are_last_in_both_orders(open_page, ranks):
    """Full fine-tuning and the base have no rank."""
    shown = open_page(ranks)
    open_folds(shown)
    head = shown.locator("#rank_chart th", has_text=re.compile("^rank"))
    place = shown.locator("#rank_chart thead th").all_inner_texts().index(head.inner_text()) + 1
    for _ in range(2):
        head.locator("button").click()
        cells = shown.locator(f"#rank_chart tbody tr > :nth-child({place})").all_inner_texts()
        assert cells[-2:] == ["–", "–"]
        assert "–" not in cells[:-2]


def test_the_finding_follows_the_filter(open_page, ranks):
    shown = open_page(ranks)
    finding = shown.locator("#results .finding")
    whole = finding.inner_text()
    assert "of 5 trained configurations" in whole
    shown.locator(".filter input").fill("rank=2")  # the key of the study's files
    expect(finding).to_contain_text("1 of 6 rows match “rank=2”; LoRA, rank 2")
    assert len(column(shown, 1)) == 1
    shown.locator(".filter input").fill("nothing of this name")
    expect(finding).to_have_text("No configuration matches “nothing of this name”.")
    shown.locator(".filter input").fill("")
    expect(finding).to_have_text(whole)


@pytest.mark.parametrize("width", [1400, 400])
def test_names_of_rows_stay_in_sight_of_a_wide_table(open_page, ranks, width):
    shown = open_page(ranks, viewport={"width": width, "height": 900})
    scroll = shown.locator("#results .scroll")
    name = scroll.locator("tbody th").first
    at = name.bounding_box()["x"]
    scroll.evaluate("node => { node.scrollLeft = 300; }")
    assert scroll.evaluate("node => node.scrollLeft") > 0
    assert name.bounding_box()["x"] == at
    assert scroll.evaluate("node => node.offsetHeight - node.clientHeight") >= 1  # a scroll bar


def test_the_page_of_a_run_is_never_empty(open_page, tmp_path):
    one = finished.run(tmp_path / "runs", finished.lora(8, 0), 0)
    write_untrained(one, {"validation_accuracy": 0.5})
    shown = open_page(report.write(one.path, tmp_path / "run.html"))
    assert shown.locator("h1").inner_text() == "LoRA, rank 8, learning rate 0.001, on bbc_topic"
    first = shown.locator(".cards li").first.inner_text()
    assert "75 %" in first
    assert "Before training: 50 %" in first
    assert f"peftlens probe task_accuracy runs/{one.id}" in shown.locator("#next").inner_text()
    assert shown.locator("#results tbody tr").count() == 2
    assert one.id not in shown.title()

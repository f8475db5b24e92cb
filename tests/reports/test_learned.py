"""One run's screen, from tables made by hand."""

import json
import re
from dataclasses import replace

import finished
import pandas as pd
import pytest
from playwright.sync_api import expect
from traced import HOSTILE, IDENTITY, ablation, changes, forgetting, tables, texts

from peftlens.io import html
from peftlens.reports import page
from peftlens.reports.learned import SHOWN, learned, one_run
from peftlens.results import table
from peftlens.results.table import Column, Table


def test_the_words_of_the_strongest_block_and_the_blocks():
    (one,) = learned(tables(activation_difference=changes()))
    assert (one.title, one.mark, one.verdict.outcome) == ("lora, seed 1", "✓", "readable trace")
    assert [(word.text, word.typical) for word in one.words] == [("ship", True), ("the", False)]
    assert (one.raised, one.lowered) == (("␣ship", "a"), ("␣cake",))
    assert one.place == "general text, after block 2"
    assert one.q == "0.002"
    assert [(bar.block, bar.height, bar.found) for bar in one.strip.bars] == [
        (1, 0.0, False),
        (2, 1.0, True),
    ]
    assert one.strip.finding.startswith("Most after block 2: 2.0 standard deviations")


def test_without_a_training_text_the_size_is_drawn_and_the_last_block_is_read():
    frame = changes((None, None), words=None, typical=None).assign(raised=[["x"], ["y"]])
    (one,) = learned(tables(activation_difference=frame))
    assert one.verdict.outcome == "trace, training text unknown"
    assert (one.words, one.raised, one.q) == ((), ("y",), "")
    assert one.strip.title == "Size of the change, by block"
    assert [bar.height for bar in one.strip.bars] == [0.5, 1.0]
    assert "20.0%" in one.strip.finding


def test_what_else_was_measured():
    frames = {
        "activation_difference": changes(),
        "forgetting": forgetting(),
        "layer_ablation": ablation([0, 1, 2, 3], 0.01),
    }
    (one,) = learned(tables(**frames))
    facts = dict(one.facts)
    assert facts["What it forgot"] == (
        "passages: loss changed by 0.25 (0.20 to 0.30) nats per token."  # of the last step
    )
    assert facts["Where the gain sits"] == (
        "Blocks 1 to 3 and what is outside of the blocks alone keep 90% of the gain "
        "(random sets do not, p = 0.01)."
    )
    few = one_run({"activation_difference": changes(), "layer_ablation": ablation([2], 0.3)}, "x")
    assert "Block 2 alone keeps 90% of the gain (random sets of as many do as well" in str(few)
    nothing = one_run(
        {"activation_difference": changes(), "layer_ablation": ablation([0], 0.3)}, ""
    )
    assert "What is outside of the blocks alone keeps" in str(nothing)
    points = forgetting(
        forgetting=None, accuracy_change=-0.05, accuracy_ci_low=-0.11, accuracy_ci_high=0.01
    )
    (asked,) = learned(tables(activation_difference=changes(), forgetting=points))
    assert dict(asked.facts)["What it forgot"].endswith("accuracy changed by -5 (-11 to 1) points.")


def test_what_linear_classifiers_lost_is_told_beside_the_loss():
    row = {"run": "r", "step": 3, "suite": "topics", "accuracy_change": -0.05,
           "accuracy_ci_low": -0.11, "accuracy_ci_high": 0.01}  # fmt: skip
    probes = pd.DataFrame([row, row | {"step": 0, "suite": "before"}])
    told = "topics, by linear classifiers of the states: accuracy changed by -5 (-11 to 1) points."
    (alone,) = learned(tables(activation_difference=changes(), linear_probes=probes))
    assert dict(alone.facts)["What it forgot"] == told
    both = tables(activation_difference=changes(), forgetting=forgetting(), linear_probes=probes)
    (one,) = learned(both)
    assert dict(one.facts)["What it forgot"].endswith(f"nats per token; {told}")


def test_answers_are_the_first_ones_and_short():
    frame = pd.DataFrame([*texts(3, "task"), *texts(3, "general")])
    (one,) = learned(tables(activation_difference=changes(), generations=frame))
    assert [example.source for example in one.answers] == ["task", "task", "general"]
    example = one.answers[0]
    assert example.prompt == f"… {'p' * 160}"
    assert [(text.model, text.same, text.other) for text in example.texts] == [
        ("base model", "b" * 160, ""),
        ("this model", "", "t"),
    ]


def test_a_configuration_shows_its_first_seed_and_tells_of_the_others():
    frame = pd.concat(
        [
            changes((0.5,), {"run": "c", "seed": 2}),
            changes(identity={"run": "r", "seed": 0}),
            changes((0.9,), {"run": "f", "configuration": "full"}),
        ]
    )
    lora, full = learned(tables(activation_difference=frame))
    assert (lora.seed, lora.verdict.outcome) == ("0", "readable trace")
    assert [(seed, one.outcome) for seed, one in lora.others] == [("2", "trace, not of the task")]
    assert lora.outcomes == "1 trace, not of the task"
    assert (full.title, full.mark, full.others) == ("full, seed 1", "~", ())


def test_nothing_is_shown_of_runs_that_were_not_measured():
    assert list(learned({})) == []
    reason = changes().assign(status="not_applicable")
    assert list(learned(tables(activation_difference=reason))) == []
    assert list(learned(tables(forgetting=forgetting()))) == []


def test_shifted_tokens_and_answers_are_shown_without_a_trace():
    shift = pd.DataFrame(
        IDENTITY | {"suite": "wiki", "direction": way, "token": token}
        for way, token in (("raised", "␣a"), ("raised", "␣b"), ("lowered", "␣c"))
    )
    found = tables(logit_shift=shift, generations=pd.DataFrame(texts(1, "task")))
    (one,) = learned(found, read=SHOWN)
    assert one.verdict.outcome == "not measured"
    assert (one.raised, one.lowered) == (("␣a", "␣b"), ("␣c",))
    assert one.place == "the output, over the texts of wiki"
    assert len(one.answers) == 1
    assert list(learned(found)) == []
    text = html.fragment("peftlens.reports", "learned_fragment.html", blocks=[one], style="")
    assert "activation_difference gives a verdict" in text


def test_tokens_are_never_markup():
    hostile = changes(words=[HOSTILE], typical=[HOSTILE], raised=[HOSTILE], lowered=[HOSTILE])
    blocks = [*learned(tables(activation_difference=hostile))]
    text = html.fragment("peftlens.reports", "learned_fragment.html", blocks=blocks, style="")
    assert "<img" not in text
    assert "\u202e" not in text
    assert text.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&lt;U+202E&gt;") == 4
    assert len(re.findall(r"<rect ", text)) == 2


@pytest.mark.parametrize("width", [1400, 400])
def test_what_runs_learned_is_told_before_all_tables(open_page, tmp_path, width):
    folder = finished.study(tmp_path, [finished.lora(1, 0), finished.plain("full", 0)])
    index = json.loads((folder / "study.json").read_text())
    rows = [
        changes(p, {"run": run, "configuration": name, "seed": 0}, raised=[HOSTILE])
        for p, (run, name) in zip(
            ((0.5, 0.001), (0.5,)), index["configurations"].items(), strict=True
        )
    ]
    one = Table("activation_difference", 1, (), (), pd.concat(rows))
    one = replace(one, columns=tuple(Column(name, name) for name in one.frame))
    table.write(one, folder / "tables" / "activation_difference.parquet")
    shown = open_page(page.write(folder), viewport={"width": width, "height": 900})
    section = shown.locator("section").nth(1)  # after the first screen
    expect(section.locator("h2")).to_have_text("What did it learn?")
    expect(section.locator("> details")).to_have_count(2)
    expect(section).to_contain_text("✓ readable trace (ship)")
    expect(section.locator("article").first).to_contain_text("<U+202E>")
    expect(section.locator("article").first.locator("rect.found")).to_have_count(1)
    folded = section.locator("#learned-2")
    expect(folded).not_to_be_visible()
    shown.evaluate("location.hash = '#learned-2'")  # as its link in the contents does
    expect(folded).to_be_visible()
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert shown.said == []

"""Every outcome of the rule, on tables made by hand."""

import pandas as pd
import pytest

from peftlens.diffing.trace_verdict import blocks, trace_verdict

WORDS = [f"word{n}" for n in range(20)]


def change(p, text="general", **cells):
    """Rows of activation_difference with these p-values, in blocks 1, 2, ..."""
    known = {
        "status": "measured", "standardized": 0.0, "words": WORDS, "typical": ["ship", "mast"],
        "random_updates": 5, "random_found": 0.0, "random_larger": 0.2, "power_at_0.4": 0.525,
    }  # fmt: skip
    if text != "general":
        known["random_larger"] = None
    return pd.DataFrame(
        [known | {"text": text, "layer": n, "p": one} | cells for n, one in enumerate(p, 1)]
    )


def frame_of(p, source="general", **cells):
    """Rows of patchscope."""
    rows = change(p, source, **cells).rename(columns={"text": "source"})
    return rows.drop(columns="random_larger")


def judged(*changes, **tables):
    return trace_verdict({"activation_difference": pd.concat(changes)} | tables)


def test_words_of_the_training_on_general_text_are_a_readable_trace():
    found = judged(change([0.0001, 0.0002, 0.5, 0.9]))
    assert found.outcome == "readable trace"
    assert found.q == pytest.approx(0.0004)  # 4 rows: 0.0001 * 4 / 1, and 0.0002 * 4 / 2 alike
    assert found.layers == (1, 2)
    assert found.typical == ("ship", "mast")
    assert found.words == tuple(WORDS)
    assert (found.source, found.text) == ("activation_difference", "general")
    assert (found.power, found.random_found, found.larger) == (0.525, 0.0, 0)
    assert found.sentence == (
        "On general text the change of the states raises words of the training: ship, mast "
        "(q = 0.0004; after blocks 1 and 2; 0 of 5 random updates do as well)."
    )


def test_words_on_text_of_the_own_are_one_too():
    found = judged(change([0.6, 0.7]), change([0.7, 0.0001], "own"))
    assert (found.outcome, found.text, found.layers) == ("readable trace", "own", (2,))
    assert found.q == pytest.approx(0.0004)
    assert "On your own text" in found.sentence


def test_words_on_text_of_the_task_are_none():
    found = judged(change([0.6, 0.7]), change([0.0001] * 30, "task"))
    assert found.outcome == "no trace found"
    assert found.q == pytest.approx(0.7)


def test_rows_of_the_task_do_not_weaken_the_correction():
    """Beside 98 found rows 0.009 would have q = 0.0093; of two rows it has 0.018."""
    general = change([0.009, 0.7])
    assert judged(general, change([0.0001] * 98, "task")).outcome == "no trace found"
    assert judged(general).q == pytest.approx(0.018)


def test_a_second_probe_is_a_second_look():
    barely = change([0.008])
    assert judged(barely).outcome == "readable trace"
    two = judged(barely, patchscope=frame_of([0.5]))
    assert two.outcome == "no trace found"
    assert two.q == pytest.approx(0.016)


def test_words_of_the_patched_base_are_a_readable_trace():
    found = judged(change([0.5]), patchscope=frame_of([0.001, 0.9]))
    assert (found.outcome, found.source) == ("readable trace", "patchscope")
    assert found.q == pytest.approx(0.004)  # two rows, two probes
    assert "put into a neutral frame" in found.sentence
    virtual = frame_of([0.0001], "virtual tokens")  # the prompt itself, not unrelated text
    assert judged(change([0.5]), patchscope=virtual).outcome == "no trace found"


@pytest.mark.parametrize(("share", "readable"), [(0.0, True), (0.2, True), (0.4, False)])
def test_words_that_random_updates_raise_as_well_are_no_trace(share, readable):
    found = judged(change([0.0001], random_found=share))
    assert (found.outcome == "readable trace") == readable
    if not readable:
        assert "raised, but 2 of 5 random updates do as well" in found.sentence
        assert found.layers == ()
    larger = judged(change([0.0001], random_found=share, random_larger=0.0))
    assert larger.outcome == ("readable trace" if readable else "trace, not of the task")


def test_a_larger_change_without_such_words():
    rows = change([0.6, 0.6])
    found = judged(rows.assign(random_larger=[0.2, 0.0]))
    assert found.outcome == "trace, not of the task"
    assert found.larger == 1
    assert found.power == 0.525
    assert found.sentence == (
        "No words of the training text were found (smallest q = 0.6; power 0.525 at cosine 0.4). "
        "But the states change more than by each of 5 random updates of equal norm after 1 of 2 "
        "blocks on general text."
    )


def test_a_larger_change_after_fewer_than_half_of_the_blocks_may_be_chance():
    rows = change([0.6, 0.6, 0.6]).assign(random_larger=[0.2, 0.0, 0.2])
    assert judged(rows).outcome == "no trace found"
    assert judged(rows.assign(random_larger=[0.2, 0.0, 0.0])).outcome == "trace, not of the task"


def test_no_trace_has_its_power():
    found = judged(change([0.5, 0.6]))
    assert found.outcome == "no trace found"
    assert "power 0.525 at cosine 0.4" in found.sentence
    assert "after 0 of 2 blocks" in found.sentence


def test_without_random_updates_nothing_is_larger():
    none = judged(change([0.5], random_larger=None, random_found=None, random_updates=0))
    assert (none.outcome, none.larger, none.random_found) == ("no trace found", None, None)
    assert "no random update to compare with" in none.sentence
    older = change([0.5]).drop(columns="random_larger")
    assert judged(older).outcome == "no trace found"
    found = judged(change([0.0001], random_larger=None, random_found=None, random_updates=0))
    assert found.outcome == "readable trace"
    assert "no random update was tried" in found.sentence


def test_the_power_of_a_frame_is_unknown():
    found = trace_verdict({"patchscope": frame_of([0.5])})
    assert (found.outcome, found.power) == ("no trace found", None)
    assert "power unknown" in found.sentence


UNTESTED = {"words": None, "typical": None, "power_at_0.4": None, "random_found": None}


def test_an_unknown_training_text_allows_no_claim_on_the_words():
    cells = UNTESTED | {"random_larger": 0.0}
    found = judged(change([None, None], **cells))
    assert found.outcome == "trace, training text unknown"
    assert "training text is unknown, give training_text" in found.sentence
    assert (found.q, found.words, found.larger) == (None, (), 2)
    smaller = judged(change([None], **UNTESTED))
    assert smaller.outcome == "not tested"
    assert smaller.sentence.startswith("Its training text is unknown, give training_text; ")


def test_a_vocabulary_without_words():
    cells = UNTESTED | {"random_larger": 0.0}
    found = judged(change([None], **cells), change([None], "task", **UNTESTED))
    assert found.outcome == "not tested"
    assert found.sentence.startswith("No token of the vocabulary is a word")


def directions(found, found_random, relevant):
    return pd.DataFrame(
        [{"status": "measured", "side": "writes", "found": found, "found_random": found_random,
          "relevant": relevant}]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "said"), [((0.5, 0.04, True), True), ((0.0, 0.04, False), False)]
)  # fmt: skip
def test_directions_of_the_update_only_add_evidence(cells, said):
    none = trace_verdict({})
    assert none.outcome == "not measured"
    rows = directions(*cells)
    alone = trace_verdict({"update_directions": rows})
    both = judged(change([0.5]), update_directions=rows)
    assert (alone.outcome, both.outcome) == ("not measured", "no trace found")
    for one in (alone, both):
        assert ("50% of the directions that it writes" in one.sentence) == said


def test_rows_with_a_reason_are_no_measurement():
    rows = change([None]).assign(status="not_applicable", text=None, layer=None)
    assert judged(rows).outcome == "not measured"


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((3,), "block 3"), ((1, 2), "blocks 1 and 2"), ((4, 1, 2, 3, 7), "blocks 1 to 4 and 7"),
     ((1, 3, 5, 6, 7), "blocks 1, 3 and 5 to 7")],
)  # fmt: skip
def test_blocks_are_named_by_ranges(numbers, words):
    assert blocks(numbers) == words

from types import SimpleNamespace

import finished
from scored import MEASURED, frame

from peftlens.claims import Verdict
from peftlens.reports.headline import cards, verdict_cards
from peftlens.reports.scores import scores
from peftlens.results import study_results
from peftlens.results.untrained import write_untrained
from peftlens.runs.run import Run

NOTHING = SimpleNamespace(tables={}, runs=[1, 2])


def test_the_best_score_stands_beside_the_base():
    first, *_ = cards(NOTHING, MEASURED)  # pyright: ignore
    assert (first.title, first.value, first.name) == ("Best accuracy", "90 %", "LoRA, rank 8")
    assert first.details == (
        "80 to 100 (95 %); 50 test examples, 2 seeds.",
        "Before training: 50 % (40 to 60).",
        "Most frequent class: 25 %.",
    )


def test_what_the_best_one_forgot_and_which_forgot_least():
    *_, last = cards(NOTHING, MEASURED)  # pyright: ignore
    assert (last.title, last.value) == ("Forgetting of the best", "+0.50 nats per token")
    assert last.name == "LoRA, rank 8"
    assert last.details == (
        "Rise of the loss on wiki: 0.40 to 0.60 (95 %); 50 items, 2 seeds.",
        "Least: Full fine-tuning, +0.10.",
    )


def test_the_most_forgetful_is_named_where_it_is_not_the_best():
    rows = [("lora", "accuracy", 0.9, 0.8, 1.0), ("full", "accuracy", 0.5, 0.4, 0.6)]
    lost = [("lora", 0.2), ("full", 1.9)]
    rows += [(method, "forgetting on wiki", mean, mean, mean) for method, mean in lost]
    *_, last = cards(NOTHING, frame(*rows))  # pyright: ignore
    assert [one for one in last.details if one.startswith(("Least", "Most"))] == [
        "Most: Full fine-tuning, +1.9."
    ]


def test_what_one_adapter_forgot_of_earlier_tasks_and_not_what_several_did():
    scores = [("lora", 0.75, 0.25), ("full", 0.8, 0.125)]
    rows = [
        (f"{method} ({regime})", metric, value, value - 0.1, value + 0.1)
        for method, right, lost in scores
        for regime, values in (("one adapter", (right, lost)), ("swapped", (0.9, 0.0)))
        for metric, value in zip(("ACC", "F"), values, strict=True)
    ]
    first, last = cards(SimpleNamespace(tables={}, runs=[]), frame(*rows))  # pyright: ignore
    assert (first.title, first.value) == ("Best average accuracy", "90 %")
    assert "frozen" not in " ".join(first.details)
    assert (last.value, last.name) == ("+12 points", "Full fine-tuning (one adapter)")
    assert last.details[0].startswith("Accuracy lost on earlier tasks: 2 to 22 (95 %)")
    assert last.details[1:] == ("Most: LoRA (one adapter), +25.",)


def test_what_was_not_measured_names_its_probe():
    alone = frame(("lora", "accuracy", 0.9, 0.8, 1.0), ("full", "accuracy", 0.5, 0.4, 0.6))
    best, cheapest, forgotten = cards(NOTHING, alone)  # pyright: ignore
    assert 'Before training: add a run with method = "frozen".' in best.details
    assert "rank_chart and paired_accuracy" in cheapest.details[0]
    assert (forgotten.value, forgotten.details) == (
        "",
        ("The probe forgetting measures it.",),
    )
    (score,) = cards(NOTHING, frame())  # pyright: ignore
    assert "task_accuracy" in score.details[0]
    assert list(cards(SimpleNamespace(tables={}, runs=[]), frame())) == []  # pyright: ignore


def test_a_run_shows_validation_beside_the_base_and_its_size(tmp_path, monkeypatch):
    one = finished.run(tmp_path, finished.lora(1, 0), 0)
    write_untrained(Run(one.path), {"validation_accuracy": 0.5, "validation_loss": 2.0})
    results = study_results.read(one.path)
    monkeypatch.setitem(results.runs[0].record.results, "validation_loss", 0.5)
    accuracy, loss, size = cards(results, scores(results))
    assert (accuracy.title, accuracy.value, accuracy.name) == ("Validation accuracy", "75 %", "")
    assert "Before training: 50 %." in accuracy.details
    assert (loss.value, loss.details[-1]) == (
        "0.5 nats per token", "Before training: 2 nats per token.",
    )  # fmt: skip
    assert (size.value, size.details) == ("57.6k", ("0.0428 % of the model's 135M.",))


def test_a_lone_test_score_has_the_base_on_validation():
    rows = frame(
        ("lora", "accuracy", 0.9, 0.8, 1.0),
        ("lora", "validation accuracy", 0.8, None, None),
        ("frozen", "validation accuracy", 0.5, None, None),
    )
    first, *_ = cards(NOTHING, rows)  # pyright: ignore
    assert first.details[-1] == "On validation: 80 %, before training 50 %."


def test_decided_claims_are_counted():
    outcomes = ("supported", "contradicted", "supported", "insufficient evidence", "not measured")
    verdicts = [Verdict("c", "t", "s", (), one, "") for one in outcomes]  # pyright: ignore
    (card,) = verdict_cards(verdicts)
    assert card.value == "3 of 4 measured"
    assert card.details == ("2 supported, 1 contradicted, 1 undecided.", "1 other not measured.")
    assert list(verdict_cards(verdicts[-1:])) == []

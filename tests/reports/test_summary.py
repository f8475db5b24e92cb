import pandas as pd

from peftlens.reports.summary import sentences
from peftlens.results.table import Table


def table(name, rows):
    return Table(name, 1, (), (), pd.DataFrame(rows))


def accuracy(configuration, value, low, high):
    return {"configuration": configuration, "method": configuration.split()[0],
            "accuracy": value, "items_ci_low": low,
            "items_ci_high": high, "n_items": 50}  # fmt: skip


def forgetting(method, step, value, low, high):
    return {"run": method, "configuration": method, "method": method, "step": step,
            "forgetting": value, "ci_low": low, "ci_high": high}  # fmt: skip


def test_accuracy_by_hand():
    rows = [
        accuracy("frozen", 0.5, 0.4, 0.6),
        accuracy("a", 0.9, 0.8, 1.0),
        accuracy("b", 0.8, 0.7, 0.85),
        accuracy("c", 0.6, 0.5, 0.7),
    ]
    first, second = sentences({"task_accuracy": table("task_accuracy", rows)})
    assert first == (
        "a has the highest accuracy of the trained configurations, 90% (95 % interval 80% to "
        "100%) of 50 test examples; the intervals of 1 of the other 2 overlap with it."
    )
    assert second == "The untrained base model has an accuracy of 50% (95 % interval 40% to 60%)."


def test_the_majority_baseline_stands_beside_the_base_model():
    shared = {"majority_class": "sports", "majority_accuracy": 0.26}
    rows = [accuracy("frozen", 0.5, 0.4, 0.6) | shared, accuracy("a", 0.9, 0.8, 1.0) | shared]
    _, base, baseline = sentences({"task_accuracy": table("task_accuracy", rows)})
    assert base.startswith("The untrained base model has an accuracy of 50%")
    assert baseline == (
        "Majority baseline: 26.0% of 50 test examples, by always answering 'sports'."
    )


def test_one_test_example_has_no_intervals_and_frozen_is_known_by_its_method():
    rows = [accuracy("frozen learning_rate=1", 0.0, None, None), accuracy("a", 1.0, None, None)]
    first, second = sentences({"task_accuracy": table("task_accuracy", rows)})
    assert (
        first
        == "a has the highest accuracy of the trained configurations, 100% of 50 test examples."
    )
    assert second == "The untrained base model has an accuracy of 0%."


def test_forgetting_counts_the_last_step_of_trained_runs():
    rows = [
        forgetting("frozen", 0, 0.0, 0.0, 0.0),
        forgetting("a", 0, 9.0, 8.0, 10.0),
        forgetting("a", 5, 0.5, 0.25, 0.75),
        forgetting("b", 5, 0.1, -0.1, 0.3),
    ]
    first, second = sentences({"forgetting": table("forgetting", rows)})
    assert first.startswith("The loss on general text increased in 1 of 2 trained runs")
    assert second == "The increase was largest for a: +0.50 nats per token (+0.25 to +0.75)."


def probed(method, suite, value, low, high):
    return {"run": method, "configuration": method, "method": method, "step": 3, "suite": suite,
            "accuracy_change": value, "accuracy_ci_low": low, "accuracy_ci_high": high}  # fmt: skip


def test_what_linear_classifiers_lost_is_told_with_the_largest_loss():
    rows = [
        probed("frozen", "x", -0.9, -0.95, -0.8),
        probed("a", "x", -0.1, -0.15, -0.05),
        probed("a", "y", -0.2, -0.25, -0.15),
        probed("b", "x", -0.02, -0.05, 0.01),
    ]
    first, second = sentences({"linear_probes": table("linear_probes", rows)})
    assert "in 1 of 2 trained runs" in first
    assert second == "The loss was largest for a, on y: -20.0 points (-25.0 to -15.0)."
    assert len([*sentences({"linear_probes": table("linear_probes", rows[:1])})]) == 0


def test_nothing_is_said_of_what_was_not_measured():
    missing = [accuracy("a", None, None, None)]
    assert list(sentences({"task_accuracy": table("task_accuracy", missing)})) == []
    assert list(sentences({})) == []


def test_a_sequence_says_who_lost_least_and_most():
    rows = [
        {
            "configuration": name,
            "regime": regime,
            "measure": measure,
            "value": value,
            "ci_low": value - 0.1,
            "ci_high": value + 0.1,
        }
        for name, value in (("full", 0.01), ("lora", 0.2))
        for measure in ("ACC", "F")
        for regime in ("one adapter", "swapped")
    ]
    (sentence,) = sentences({"continual": table("continual", rows)})
    assert sentence == (
        "Trained on one task after another, full lost the least accuracy on the earlier ones "
        "(1 points, -9 to 11) and lora the most (20 points, 10 to 30)."
    )


def test_a_chart_says_where_each_method_saturates():
    rows = [
        {"configuration": f"lora rank={rank}", "method": "lora", "trainable_parameters": 100 * rank,
         "accuracy": 0.8, "is_saturation_bound": rank == 4,
         "within_margin": {1: "undecided", 2: "no", 4: "best"}.get(rank, "yes")}
        for rank in (1, 2, 4, 16)
    ]  # fmt: skip
    rows.append(rows[2] | {"configuration": "full", "method": "full"})
    (sentence,) = sentences({"rank_chart": table("rank_chart", rows)})
    assert sentence.startswith("Of 4 configurations of lora")
    assert "at lora rank=4 at most (80%, 400 parameters; undecided: lora rank=1)" in sentence


def test_runs_are_counted_once_whatever_was_asked_of_them():
    rows = [forgetting("a", 5, 0.5, 0.25, 0.75) | {"suite": suite} for suite in ("x", "y")]
    first, _ = sentences({"forgetting": table("forgetting", rows)})
    assert first.startswith("The loss on general text increased in 1 of 1 trained runs")
    questions = [forgetting("a", 5, None, None, None)]
    assert list(sentences({"forgetting": table("forgetting", questions)})) == []


def test_one_sequence_is_told_alone():
    row = {
        "configuration": "lora",
        "regime": "one adapter",
        "measure": "F",
        "value": 0.2,
        "ci_low": None,
        "ci_high": None,
    }
    (sentence,) = sentences({"continual": table("continual", [row])})
    assert sentence == (
        "Trained on one task after another, lora lost 20 points of accuracy on the earlier ones."
    )

import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import readable_trace
from peftlens.io import escaping
from peftlens.results.table import IDENTITY

WORDS = [f"w{number}" for number in range(20)]


def run(
    name, method="lora", *, seed=0, q=0.001, power=0.9, random=0.0, drawn=5, words=None, study="s"
):
    """Rows of two layers on general text, of which the second decides, and one on task text."""
    return [
        {"run": name, "seed": seed, "configuration": method, "method": method,
         "text": text, "layer": layer, "q": found, "power_at_0.6": power,
         "random_found": random, "random_updates": drawn, "words": words or WORDS,
         "study": study}
        for text, layer, found in (("general", 1, 0.7), ("general", 2, q), ("task", 1, 0.0001))
    ]  # fmt: skip


def table(*groups):
    """Groups of runs: method, number with a trace, number without, and other values."""
    rows = []
    for method, found, missed, values in groups:
        for number in range(found + missed):
            q = 0.001 if number < found else 0.4
            rows += run(f"{method}{number}", method, seed=number, q=q, **values)
    return {"activation_difference": pd.DataFrame(rows).convert_dtypes()}


@pytest.mark.parametrize(
    ("groups", "outcome", "message"),
    [
        ([("lora", 6, 0, {}), ("full", 3, 3, {})], "supported", "yes for lora (6 of 6 runs, power"),
        ([("lora", 6, 0, {})], "insufficient evidence", "yes for lora"),  # every method: one?
        ([("lora", 6, 0, {}), ("ia3", 0, 6, {})], "contradicted", "no for ia3 (0 of 6 runs, p"),
        ([("lora", 0, 6, {}), ("ia3", 1, 5, {})], "contradicted", "no for lora (0 of 6 runs, p"),
        ([("lora", 6, 0, {}), ("ia3", 0, 6, {"power": 0.4})], "insufficient evidence",
         "undecided for ia3 (0 of 6 runs, power 0.40)"),
        ([("lora", 6, 0, {}), ("ia3", 0, 6, {"power": None})], "insufficient evidence", "r nan"),
        ([("lora", 6, 0, {}), ("ia3", 2, 4, {})], "insufficient evidence", "undecided for ia3"),
        # in half of the random updates they are found as well: 4 of 6 is no more
        ([("lora", 4, 2, {"random": 0.5}), ("full", 4, 2, {})], "insufficient evidence",
         "Of random updates of equal norm: 15 of 60."),
        ([("lora", 4, 2, {"random": None, "drawn": 0}), ("full", 4, 2, {})], "supported",
         "random updates of equal norm: 0 of 30"),
    ],
)  # fmt: skip
def test_every_outcome(groups, outcome, message):
    found, sentence, _ = readable_trace.verdict(table(*groups))
    assert found == outcome
    assert message in sentence


def test_holm_over_methods():
    """Two of three runs have p = 0.00725: enough for two methods, not for eight."""
    two = [(name, 2, 1, {}) for name in ("a", "b")]
    assert readable_trace.verdict(table(*two))[0] == "supported"
    eight = [(name, 2, 1, {}) for name in "abcdefgh"]
    assert readable_trace.verdict(table(*eight))[0] == "insufficient evidence"


def test_a_trace_on_task_text_alone_does_not_count():
    rows = pd.DataFrame(run("r", q=0.02))
    assert readable_trace._found(rows[rows["text"] == "general"]).found.sum() == 0


def test_unknown_training_text_is_not_measured():
    rows = pd.DataFrame(run("r", q=None)).assign(q=None)
    outcome, sentence, _ = readable_trace.verdict({"activation_difference": rows})
    assert outcome == "not measured"
    assert "known training text" in sentence


OTHER = [f"v{number}" for number in range(20)]


def two_tasks():
    """Two seeds of one configuration that agree wholly, on each of two tasks that differ wholly."""
    rows = run("a", words=WORDS, study="s") + run("b", words=WORDS, study="s")
    return pd.DataFrame(rows + run("c", words=OTHER, study="t") + run("d", words=OTHER, study="t"))


def test_seeds_agree_and_other_tasks_do_not():
    _, sentence, _ = readable_trace.verdict({"activation_difference": two_tasks()})
    assert "1.00 between two seeds of a configuration" in sentence
    assert "0.00 between runs of different configurations or tasks" in sentence


def test_a_table_from_a_csv_file_has_the_same_verdict():
    frame = two_tasks()
    again = escaping.from_csv(escaping.to_csv(frame))
    verdicts = [readable_trace.verdict({"activation_difference": one}) for one in (frame, again)]
    assert verdicts[0] == verdicts[1]


def test_agreement_is_that_of_equal_layers():
    one, other = {1: ["a", "b"], 2: ["c", "d"]}, {2: ["c", "d"], 3: ["a", "b"]}
    assert readable_trace._agreement([(one, other)]) == pytest.approx(1)
    assert readable_trace._agreement([(one, {3: ["a"]})]) is None


def test_a_run_without_a_table_of_studies_or_pairs_has_no_agreement():
    rows = pd.DataFrame(run("a")).drop(columns="study")
    assert "Agreement" not in readable_trace.verdict({"activation_difference": rows})[1]


def test_the_probe_has_these_columns():
    columns = (*IDENTITY, *registry.load("probes", "activation_difference").COLUMNS)
    rows = table(("lora", 1, 0, {}))["activation_difference"]
    assert {*rows} <= {column.name for column in columns} | {"study"}

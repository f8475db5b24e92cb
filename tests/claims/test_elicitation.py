import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import elicitation
from peftlens.results.table import IDENTITY


def table(*groups):
    """Groups of prompts: method, numbers found by words that state the task, by none; power."""
    rows = []
    for method, found, missed, power in groups:
        for number in range(found + missed):
            for words, task in (("stated", "news"), ("stated", "mood"), ("typical", "news")):
                own = task == "news"
                hit = words == "stated" and number < found
                rows.append(
                    {"run": f"{method}{number}", "seed": number, "method": method,
                     "words": words, "task": task, "own": own,
                     "q": (0.02 if hit else 0.6) if own else None,
                     "power_at_0.25": power if own else None}
                )  # fmt: skip
    return {"prompt_elicitation": pd.DataFrame(rows).convert_dtypes()}


@pytest.mark.parametrize(
    ("groups", "outcome", "message"),
    [
        ([("prompt_tuning", 6, 0, 0.9)], "supported", "yes for prompt_tuning (6 of 6 runs, po"),
        ([("prompt_tuning", 3, 3, 0.9)], "supported", "Found: 3 of 6 by stated words, 0 of 6 by"),
        ([("prompt_tuning", 1, 5, 0.9)], "contradicted", "no for prompt_tuning (1 of 6 runs"),
        ([("prompt_tuning", 6, 0, 0.9), ("prefix_tuning", 0, 6, 0.9)], "contradicted",
         "yes for prompt_tuning (6 of 6 runs, power 0.90); no for prefix_tuning (0 of 6 runs"),
        ([("prompt_tuning", 0, 6, 0.4)], "insufficient evidence", "undecided for prompt_tuning"),
        ([("prompt_tuning", 1, 0, 0.9)], "insufficient evidence", "1 of 1 run, power 0.90"),
        ([("prompt_tuning", 2, 4, 0.9)], "insufficient evidence", "25% of the vectors"),
    ],
)  # fmt: skip
def test_every_outcome(groups, outcome, message):
    found, sentence, _ = elicitation.verdict(table(*groups))
    assert found == outcome
    assert message in sentence


@pytest.mark.parametrize("power", [0.4, None])
def test_the_weaker_kind_of_words_has_the_power(power):
    tables = table(("prompt_tuning", 0, 6, 0.9))
    rows = tables["prompt_elicitation"]
    rows.loc[rows["words"] == "typical", "power_at_0.25"] = power
    assert elicitation.verdict(tables)[0] == "insufficient evidence"


def test_without_own_words_nothing_is_measured():
    rows = table(("prompt_tuning", 6, 0, 0.9))["prompt_elicitation"]
    assert elicitation.verdict({"prompt_elicitation": rows[~rows["own"]]})[0] == "not measured"


def test_the_probe_has_these_columns():
    columns = (*IDENTITY, *registry.load("probes", "prompt_elicitation").COLUMNS)
    rows = table(("prompt_tuning", 1, 0, 0.9))["prompt_elicitation"]
    assert {*rows} <= {column.name for column in columns}

import pytest
from charts import rows

from peftlens.claims.prompt_length import verdict


def table(**enough):
    return rows(
        {f"prompt_tuning num_virtual_tokens={name[1:]}": {"within_margin": word}
         for name, word in enough.items()}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("enough", "outcome"),
    [
        ({"n1": "no", "n20": "yes", "n100": "yes"}, "supported"),
        ({"n1": "no", "n20": "undecided", "n100": "yes"}, "insufficient evidence"),
        ({"n20": "no", "n100": "no", "n200": "yes"}, "contradicted"),
        ({"n1": "yes", "n5": "yes"}, "not measured"),
        ({"n20": "yes"}, "not measured"),
    ],
)
def test_the_shortest_of_those_meant_decides(enough, outcome):
    assert verdict(table(**enough))[0] == outcome


def test_the_default_length_is_told():
    _, sentence = verdict(rows({"prompt_tuning": {}, "prompt_tuning num_virtual_tokens=5": {}}))
    assert "5 tokens 0.800" in sentence
    assert "20 tokens 0.800" in sentence


def test_lengths_of_different_seeds_are_not_compared():
    found = table(n20="yes", n100="yes")
    found["rank_chart"].loc[1, "diff_vs_best"] = None
    assert verdict(found) == (
        "not measured", "All lengths must be trained with the same seeds."
    )  # fmt: skip


def test_lengths_are_read_in_whichever_order_they_were_written():
    given = {"prompt_tuning init=text num_virtual_tokens=100": {"within_margin": "no"},
             "prompt_tuning num_virtual_tokens=50 init=text": {"within_margin": "yes"}}  # fmt: skip
    found, sentence = verdict(rows(given))
    assert found == "supported"
    assert "examples: 50 tokens 0.800" in sentence
